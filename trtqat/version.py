"""The version of trtqat; apart from the package's face, so that no room imports upwards."""

__version__ = "0.1.0"
