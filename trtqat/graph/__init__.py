"""ONNX graphs: one pass per file; a pass says what it did."""

# Under this key of an ONNX file's metadata the export records where the graph comes from.
METADATA_KEY = "trtqat"
