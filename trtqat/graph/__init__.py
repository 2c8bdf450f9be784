"""ONNX graphs: one pass per file; a pass says what it did."""
