"""The PyTorch side of quantization: reading trained quantizers, and making them.

``quantizers.py`` reads what any toolkit's quantizer says, by one reader for each toolkit
(``pytorch_quantization.py``, ``modelopt.py``, ``torch_ao.py``); ``replacement.py`` puts stand-ins
(``fake_quantize.py``) in their places while a model is traced, and ``range_buffers.py`` makes room
for the ranges of a checkpoint. ``training.py`` inserts quantizers into a float model, and
``calibration.py`` gives them their ranges. ``module_by_module.py`` keeps PyTorch from fusing what
would skip them.
"""
