"""trtqat."""
__version__ = "0.1.0"
