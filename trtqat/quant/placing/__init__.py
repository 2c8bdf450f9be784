"""Where quantizers stand in a model, and how they get there.

``recording.py`` watches one run of the model; ``placement.py`` decides on that what is quantized;
``placed.py`` puts the quantizers in, and takes them off. ``interception.py`` calls a model's
functions with quantized operands: those of ``functions.py``, of which ``attention.py`` and
``einsum.py`` write two out as the products that they are. ``instrumented.py`` lets the calls of a
module be seen. ``multiplying.py`` counts what multiplies below the functions.
"""
