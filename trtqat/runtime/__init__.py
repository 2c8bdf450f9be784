"""Running what was made: plans on TensorRT, graphs on ONNX Runtime, models on PyTorch."""
