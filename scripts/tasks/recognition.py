"""Recognition of text: an ONNX file of others, quantized after training, judged by its characters.

The recognizer is the one that PyPI's ``rapidocr`` ships (Apache-2.0); that package is not imported.
Lines of text are drawn here, in the fonts of DejaVu where Debian has put them, and in Pillow's own.

    pip install --no-deps rapidocr
    python -m scripts.tasks.recognition --output runs/tasks
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from trtqat.data.batches import Batch
from trtqat.errors import MissingError

# As the recognizer takes them; it has been trained on images that were made so.
HEIGHT, WIDTH = 48, 320
INPUT = "x"
_FONTS = Path("/usr/share/fonts/truetype/dejavu")
_WORDS = (
    *("stream", "engine", "shipped", "window", "quiet", "seven", "orange", "pixel", "budget"),
    *("matrix", "Zurich", "Kyoto", "Quito", "Bergen", "layer", "Oslo", "harbour", "verdict"),
)
_TRAINING, _TEST = 160, 200
# Images of the test follow behind those of the training.
_FIRST_TEST = 1_000_000
# Hard enough for FP32 to fail here and there: seen from afar, and with noise.
_NOISE = 22.0
_LEAST_HEIGHT, _MOST_HEIGHT = 11, 20


class _Lines:
    """Drawn lines of text, each made from its number alone."""

    def __init__(self, first: int, count: int) -> None:
        self._first, self._count = first, count

    def __len__(self) -> int:
        return self._count

    def batch(self, start: int, stop: int) -> Batch:
        drawn = [draw(self._first + number) for number in range(start, stop)]
        images = np.stack([image for image, _ in drawn])
        return Batch({INPUT: images}, tuple(text for _, text in drawn))


def test_data() -> _Lines:
    """Lines to judge by, for ``--data``."""
    return _Lines(_FIRST_TEST, _TEST)


def training_data() -> _Lines:
    """Other lines, to choose ranges on."""
    return _Lines(0, _TRAINING)


def draw(number: int) -> tuple[NDArray[np.float32], str]:
    """A line of one to three words or numbers, and its text.

    Args:
        number: The seed of all that is in it.

    Returns:
        Float32 ``(3, 48, 320)`` from -1 to 1, blue first; 0 behind the line's end.
    """
    generator = np.random.default_rng(number)
    words = []
    for _ in range(generator.integers(1, 4)):
        is_number = generator.random() < 0.25
        words.append(
            str(generator.integers(10, 99_999)) if is_number else str(generator.choice(_WORDS))
        )
    text = " ".join(words)
    fonts = _fonts()
    font = fonts[int(generator.integers(len(fonts)))]
    dark, light = generator.integers(0, 90, 3), generator.integers(170, 256, 3)
    ink, paper = (dark, light) if generator.random() < 0.7 else (light, dark)
    left, top, right, bottom = font.getbbox(text)
    width, height = int(right - left) + 16, int(bottom - top) + 14
    image = Image.new("RGB", (width, height), tuple(map(int, paper)))
    ImageDraw.Draw(image).text((8 - left, 7 - top), text, tuple(map(int, ink)), font)
    wide = min(WIDTH, max(1, round(width * HEIGHT / height)))
    far = int(generator.integers(_LEAST_HEIGHT, _MOST_HEIGHT + 1))
    image = image.resize((max(1, round(wide * far / HEIGHT)), far), Image.Resampling.BILINEAR)
    pixels = np.asarray(image.resize((wide, HEIGHT), Image.Resampling.BILINEAR), np.float32)
    pixels = np.clip(pixels + _NOISE * generator.standard_normal(pixels.shape), 0, 255)
    line = np.zeros((3, HEIGHT, WIDTH), np.float32)
    line[:, :, :wide] = (pixels[..., ::-1].transpose(2, 0, 1) / 255 - 0.5) / 0.5
    return line, text


def copy_model(output: Path) -> None:
    """Writes the recognizer, and its characters as ``cer:characters=FILE`` takes them.

    Args:
        output: The folder for ``recognition-fp32.onnx`` and ``characters.txt``.

    Raises:
        MissingError: ``rapidocr`` is not installed, or its recognizer is another one.
    """
    import onnxruntime

    found = importlib.util.find_spec("rapidocr")
    files = sorted(Path(str(found.origin)).parent.glob("models/*rec*.onnx")) if found else []
    if not files:
        raise MissingError(
            "The recognizer of rapidocr is not here.", "pip install --no-deps rapidocr==3.10.0"
        )
    session = onnxruntime.InferenceSession(str(files[0]), providers=["CPUExecutionProvider"])
    characters = session.get_modelmeta().custom_metadata_map.get("character", "")
    lines = characters.removesuffix("\n").split("\n")
    (logits,) = session.get_outputs()
    # The first class is no character, and the last one is the space.
    if len(lines) + 2 != logits.shape[-1]:
        raise MissingError(
            f"'{files[0].name}' has {logits.shape[-1]} classes and {len(lines)} characters.",
            "pip install --no-deps rapidocr==3.10.0",
        )
    output.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(files[0], output / "recognition-fp32.onnx")
    text = "\n".join([*lines, " "]) + "\n"
    (output / "characters.txt").write_text(text, encoding="utf-8", newline="\n")


@functools.cache
def _fonts() -> list[ImageFont.FreeTypeFont]:
    names = ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSerif.ttf", "DejaVuSansMono.ttf")
    files = [_FONTS / name for name in names if (_FONTS / name).exists()]
    own = ImageFont.load_default(30)
    assert isinstance(own, ImageFont.FreeTypeFont)
    return [own, *(ImageFont.truetype(str(each), 30) for each in files)]


def main(given: Sequence[str] | None = None) -> int:
    """Copies the model.

    Args:
        given: The command line; None takes the process's own.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    try:
        copy_model(parser.parse_args(given).output)
    except MissingError as error:
        print(f"Error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
