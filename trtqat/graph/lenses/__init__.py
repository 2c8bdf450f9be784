"""Lenses: they answer questions on a graph, change nothing and import nothing that does.

A noun each. What a node or tensor is:

    basics         of any node or tensor: its constant value, its name, who reads it
    pairs          Q/DQ: parameters, codes, the other half
    equal_codes    codes of another type that mean what TensorRT reads
    layers         Conv, ConvTranspose, Gemm, MatMul with data, weight, channels
    weights        what depends on initializers only
    moves          nodes that only move values, and what they make of a constant
    groups         how many channels each group of a convolution takes and makes
    affine         nodes that multiply and shift each channel: BatchNorm and its kin
    grids          on which grid of numbers a tensor lies
    paths          the way back from a tensor
    shortcuts      which tensors go around a residual block, up to its sum

What a graph amounts to:

    view           all of this for one graph, kept: what stands before and behind a tensor
    fold_plan      whether a BatchNorm can go into the layer before it, and with which numbers
    macs           how much each layer computes, and the share of INT8; with mac_formulas, einsum
    arithmetic     what multiplies besides layers
    batch, sizes   how much of a tensor belongs to one sample
    exits          where INT8 ends in floating point
    choices        which outputs depend on what is chosen by size
    siblings       equal convolutions of one tensor, which TensorRT 8.6.0 refuses
    finite         weights that are no numbers
    targets        which TensorRT a graph is for
"""
