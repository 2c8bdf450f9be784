"""What trtqat is tried on: models, benchmarks and their results; run them from the repository."""
