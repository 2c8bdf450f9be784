"""Makes a verified ONNX file of whatever holds a quantized model.

``export.py`` takes every kind of source and calls one of two: ``pipeline.py`` traces a PyTorch
model, ``from_onnx.py`` improves a graph that another tool wrote. Both verify what they made
(``verification/``) and end alike (``finishing.py``).

A source is named by ``source.py`` and loaded by ``loading.py``, with ``checkpoint.py`` and
``state_dicts.py`` for weights and ``program.py`` for ``torch.export`` programs. A model is checked
(``check_model.py``, ``batch_dimension.py``), its quantizers are found (``find_quantizers.py``) and
watched while it runs (``quantizer_calls.py``), and it is traced (``traced_graph.py``,
``tracing.py``, ``decomposing.py``, ``torchlib.py``).
"""
