"""Which range a quantizer gets.

``observing.py`` lets the quantizers of a model look at data and gives them their ranges. What an
activation was goes into a ``histogram.py``, from which ``activation_ranges.py`` chooses the range:
by ``entropy.py``, by ``quantization_error.py`` or by neither. ``weight_ranges.py`` chooses those of
a weight, one a channel.
"""
