"""ONNX graph → TensorRT plan with its manifest."""
