"""Quantization-aware training (QAT): a quantized model is trained on.

``fine_tune.py`` is the loop, ``options.py`` how it trains. ``inputs.py`` is what it takes: a model
with quantizers, and batches. ``loss.py`` is what it minimizes, by the steps of ``optimizer.py``.
``learned_ranges.py`` lets the ranges be trained as well. ``checkpoint.py`` is the file that a run
goes on from.
"""
