"""``--pixels``: bytes of an image come in, and the graph normalises them.

fit.py          numbers of an affine form, whose codes are the host's whatever is rounded
arithmetic.py   the ways to compute values of bytes: divide, affine, table, channels, layer
forms.py        which way, and where NHWC is transposed; which of them for which TensorRT
take_pixels.py  the pass
"""
