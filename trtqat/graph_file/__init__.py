"""What an ONNX file is, before any pass or runtime: read, checked, hashed, written.

reading.py          a file becomes a graph, and what is no graph is named
border/             what is checked once, so that everything behind may rely on it
hashing.py          the SHA-256 of a file with the weights that lie beside it
names.py            inputs and outputs, in the order of the exported model
serialized.py       graphs as bytes or, above 2 GiB, with their weights in a file
without_weights.py  a graph as onnx's inference of shapes needs it
garbage.py          Python's collector, paused where a million objects are made that all stay
"""
