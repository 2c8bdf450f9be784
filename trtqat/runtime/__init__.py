"""Runs what was made: plans on TensorRT, graphs on ONNX Runtime, models on PyTorch.

``protocol.py`` says what the three have in common: a ``Model`` makes a ``Session`` for a batch
size, and a session runs and times queries. ``engine.py`` and ``session.py`` are TensorRT's,
``onnx_model.py`` is ONNX Runtime's, ``pytorch.py`` and ``pytorch_session.py`` are PyTorch's. Each
is a context manager (``held.py``), and ``opening.py`` opens engines and graphs by their files.
``engine_graph.py`` finds the graph that a plan was built from. Inputs that an engine takes as INT8
codes are quantized on the way (``input_codes.py``, ``host_quantizer.py``).
"""
