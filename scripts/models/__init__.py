"""Models of several shapes, quantized and never trained: for speed and agreement."""
