"""Passes: each changes a graph in place and returns what it did (``protocol``).

Three lists run them, each a tuple in a file of its own:

    canonical_graph   of a traced PyTorch model: tidy, name_nodes, expand_fake_quantize (where a
                      Q/DQ pair is made), lower_opset, write_ir_version, write_trilu, and what is
                      unused goes
    standard_pairs    of a file from another tool: use_standard_domain, write_scales,
                      fold_constant_moves, remove_code_clips, make_codes_signed, write_axes,
                      write_kernel_shapes, make_biases_float, make_numbers_float
    improvements      of both, after that: infer_shapes, remove_identities, fold_constant_moves,
                      quantize_weights, fold_weight_moves, fold_constant_layers, fold_batch_norm,
                      fold_zeros, the repairs, make_weights_float

``tidy`` is a list inside the first one, with remove_identities and cast_bytes_first; a file from
another tool goes through it as well. Passes that are run by themselves:

    name_outputs          the names that the PyTorch model gives its outputs
    write_convolutions    linear layers as convolutions, behind bytes for TensorRT 8.6
    take_codes            inputs arrive as INT8 codes
    remove_quantization   the float graph, to compare with

Two stand here because they make a graph another one, and are in no list because they do not keep
to the protocol, as what they are called for is not what they did:

    tap           INT8 tensors are taken out of the graph, in place; returns these tensors
    raise_opset   returns another graph, of a newer opset, as onnx's converter makes it of a file;
                  the FP16 graph needs it
"""
