"""PyTorch model → ONNX with explicit Q/DQ."""
