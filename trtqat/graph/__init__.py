"""ONNX graphs: one pass per file; a pass says what it did.

    canonical.py     the passes that make an exporter's graph ours: tidy, name_nodes,
                     expand_fake_quantize (where a Q/DQ pair is made), lower_opset
    improve.py       the passes after it: quantize_weights, fold_batch_norm, repair/
    write_axes.py, make_biases_float.py
                     what a graph from another tool needs before
    half/            the FP16 graph; raise_opset.py before it
    lint/            what is wrong with a graph, one function per rule
    macs.py          how much of its arithmetic is INT8

What passes and rules look at a graph with: pairs.py (Q/DQ), layers.py, affine.py (BatchNorm
and its kin), view.py (what stands before and behind), editing.py, targets.py (which TensorRT).
"""
