"""Whether a graph computes what it was made of does.

``verify.py`` compares a graph with a ``Reference``, a model or another graph: end to end
(``end_to_end.py``), and piece by piece from the same INT8 activations (``cut.py``, ``pieces.py``).
What was found is a ``Verification`` (``result.py``). ``ranges.py`` measures how large the tensors
of a graph become, ``rounding.py`` moves values by what rounding may do, and ``choices.py`` scores
of which one is chosen.
"""
