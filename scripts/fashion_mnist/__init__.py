"""Five architectures on Fashion-MNIST: float, quantized and fine-tuned, counted on every image."""
