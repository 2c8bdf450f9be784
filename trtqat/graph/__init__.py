"""ONNX graphs: what changes them, what looks at them, what is wrong with them.

passes/      change a graph, one pass a file, in three lists:
                 canonical_graph   what an exporter left becomes ours; a Q/DQ pair is made in
                                   passes/expand_fake_quantize.py
                 standard_pairs    the Q/DQ of another tool becomes what TensorRT reads
                 improvements      then, for both: INT8 weights, folded BatchNorms, repairs
repair/      passes that move, remove and share Q/DQ pairs and change no output bit
half/        the FP16 graph for strongly typed TensorRT
lenses/      answer questions on a graph, the small ones too, and import nothing that changes one
lint/        what costs speed or accuracy, or is refused; one function a rule
editing.py   small changes that several passes make
editor.py    changes that cost no more than what they touch
"""
