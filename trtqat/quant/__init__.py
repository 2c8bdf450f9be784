"""The PyTorch side of quantization: making quantizers, and reading those that others made.

``quantize.py`` makes an INT8 model of a float one: ``placing/`` decides where quantizers stand and
puts them there (``int8_quantizer.py``), ``ranges/`` lets them look at data and gives them their
ranges, ``recipe.py`` keeps all of it in a file. ``tuning/`` trains the model on.

``toolkits/`` reads what any toolkit's quantizer says (``state.py``), and puts stand-ins
(``fake_quantize.py``) in their places while a model is traced. ``training.py`` inserts
pytorch-quantization's quantizers. ``feeding.py`` has batches as a model's forward takes them, and
``module_by_module.py`` keeps PyTorch from fusing what would skip quantizers.
"""
