"""The PyTorch side of quantization: making quantizers, and reading those that others made.

``quantize.py`` makes an INT8 model of a float one: ``placing/`` decides where quantizers stand and
puts them there (``int8_quantizer.py``), ``ranges/`` lets them look at data and gives them their
ranges, ``recipe.py`` keeps all of it in a file. ``tuning/`` trains the model on.

``quantizers.py`` reads what any toolkit's quantizer says, by one reader for each toolkit
(``pytorch_quantization.py``, ``modelopt.py``, ``torch_ao.py``); ``replacement.py`` puts stand-ins
(``fake_quantize.py``) in their places while a model is traced, and ``range_buffers.py`` makes room
for the ranges of a checkpoint. ``training.py`` inserts pytorch-quantization's quantizers, and
``calibration.py`` gives them their ranges. ``module_by_module.py`` keeps PyTorch from fusing what
would skip them.
"""
