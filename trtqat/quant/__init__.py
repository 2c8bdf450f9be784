"""The PyTorch side of quantization: reading trained quantizers, and making them."""
