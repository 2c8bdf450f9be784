"""``--pixels``: bytes of an image come in, and the graph normalises them.

fit.py          numbers of an affine form, whose codes are the host's whatever is rounded
fit_half.py     numbers of a form whose codes are the host's in FP16, too
node_writer.py  writes nodes of one input
arithmetic.py   the ways to compute values of bytes: divide, affine, table, channels, planes, half,
                layer
forms.py        which way, and where NHWC is transposed; which of them for which TensorRT
take_pixels.py  the pass
give_floats.py  the pass back to floats, where pairs are taken out
"""
