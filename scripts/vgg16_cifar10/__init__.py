"""A VGG-16 that is trained: data, float training, fine-tuning with fake quantization."""
