"""The version of trtqat; apart from the package's face, so that no room imports upwards."""

__version__ = "0.2.0.dev0"
