"""Quantizers in a model, read and run whichever toolkit made them.

``quantizers.py`` says what each of them is, by one reader for each toolkit
(``pytorch_quantization.py``, ``modelopt.py``, ``torch_ao.py``; ``stand_in.py`` reads those of an
exported program). ``replacement.py`` puts stand-ins in their places while a model is traced,
``range_buffers.py`` makes room for the ranges of a checkpoint, and ``absence.py`` says why a model
has none that runs. ``calibration.py`` gives pytorch-quantization's quantizers their ranges.
``silence.py`` keeps toolkits quiet.
"""
