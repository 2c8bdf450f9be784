"""``cer``: characters that a recognizer gets wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from trtqat.data.labels import Labels
from trtqat.errors import DataError, UsageError
from trtqat.evaluation.metrics.decoding import Decoder
from trtqat.evaluation.metrics.metric import SumMetric, ratios
from trtqat.files import read_input, why_unreadable
from trtqat.tensors import Array, Arrays

# A file of every character that Unicode has is smaller.
_MOST_BYTES = 16 * 2**20


@dataclass(frozen=True, kw_only=True)
class CharacterErrorRate(SumMetric):
    """Edits that turn the texts into the labels, over the labels' characters, in percent.

    Reads logits ``(N, T, classes)`` or class numbers ``(N, T)`` of a recognizer with a blank class
    (CTC): equal neighbours are one character, and blanks none. Or what ``decode`` makes of the
    outputs. Labels are texts.

    Attributes:
        characters: File with the character of each class but the blank one, one on a line, UTF-8.
        blank: The class that is no character; counted from the end if negative.
        decode: Pointer to a function that gets all outputs by name and returns N texts.
    """

    OPTIONS: ClassVar[Mapping[str, Callable[[str], Any]]] = {
        "characters": Path,
        "blank": int,
        "decode": str,
    }

    higher_is_better: bool = field(default=False, init=False)
    characters: Path | None = None
    blank: int | None = None
    decode: str | None = None

    def __post_init__(self) -> None:
        if (self.characters is None) == (self.decode is None):
            raise UsageError(
                "The metric cer has to know which character a class is.",
                "Give cer:characters=FILE with one on each line, or cer:decode=file.py:function.",
            )
        # Before a model is loaded, which takes longer.
        if self.characters is not None:
            self._alphabet  # noqa: B018
        elif self.decode is not None:
            self._decoder  # noqa: B018

    @property
    def name(self) -> str:
        """``cer``."""
        return "cer"

    @property
    def reads_first(self) -> bool:
        """Not where a function of the user's gets all outputs."""
        return self.output is None and self.decode is None

    def statistics(self, outputs: Arrays, labels: Labels) -> Array:
        """Edits, and characters of the label: ``(N, 2)``."""
        if not isinstance(labels, tuple) or not all(isinstance(each, str) for each in labels):
            raise self.unfit_labels(labels, "texts")
        texts = self._texts(outputs, len(labels))
        rows = [
            (edit_distance(text, label), len(label))
            for text, label in zip(texts, labels, strict=True)
        ]
        return np.array(rows, np.float64)

    def value(self, sums: Array) -> Array:
        """In percent; above 100 where more is written than is there."""
        return 100 * ratios(sums[:, 0], sums[:, 1])

    def _texts(self, outputs: Arrays, count: int) -> Sequence[str]:
        if self.decode is not None:
            texts = self._decoder(outputs, count)
            wrong = next((each for each in texts if not isinstance(each, str)), None)
            if wrong is not None:
                raise DataError(
                    f"{self.decode} returned a {type(wrong).__name__} for a sample.",
                    "Return a list with a text for each.",
                )
            return texts
        what, output = self.chosen(outputs)
        alphabet = self._alphabet
        if output.ndim == 3 and output.shape[2] != len(alphabet):
            raise DataError(
                f"T{what[1:]} has the shape {output.shape}, but '{self.characters}' with "
                f"the blank makes {len(alphabet)} classes.",
                "Give the characters that the model was trained with; a space is a line of its "
                "own.",
            )
        if output.ndim not in (2, 3):
            raise DataError(
                f"The metric {self.label} reads (N, T, classes) or (N, T), but {what} has the "
                f"shape {output.shape}.",
                "Give cer:decode=file.py:function for other outputs.",
            )
        # What is no number is no character.
        unsound = ~np.isfinite(output) if output.ndim == 2 else np.isnan(output).any(axis=2)
        given = np.where(unsound, 0, output) if output.ndim == 2 else output.argmax(axis=2)
        classes = np.where(unsound, alphabet.index(""), given.astype(np.int64))
        unknown = classes[(classes < 0) | (classes >= len(alphabet))]
        if unknown.size:
            raise DataError(
                f"T{what[1:]} holds the class {unknown[0]}, but there are {len(alphabet)}.",
                "Give the characters that the model was trained with.",
            )
        return [_collapsed(row, alphabet) for row in classes]

    @cached_property
    def _decoder(self) -> Decoder:
        return Decoder(str(self.decode))

    @cached_property
    def _alphabet(self) -> tuple[str, ...]:
        """The character of each class; nothing for the blank."""
        path, blank = Path(str(self.characters)), self.blank or 0
        try:
            text = read_input(path, most_bytes=_MOST_BYTES).decode("utf-8")
        except OSError as error:
            raise UsageError(
                f"The characters '{path}' cannot be read: {why_unreadable(error)}.",
                "Check the path.",
            ) from error
        except UnicodeDecodeError as error:
            raise UsageError(
                f"The characters '{path}' are no UTF-8 at byte {error.start}.", "Save them so."
            ) from error
        # Editors put a mark first, which is no character. Not by splitlines: several of Unicode's
        # line ends are characters of such files.
        lines = text.removeprefix("\ufeff").replace("\r\n", "\n").removesuffix("\n").split("\n")
        place = blank if blank >= 0 else len(lines) + 1 + blank
        if not 0 <= place <= len(lines):
            raise UsageError(
                f"The blank class {blank} is none of {len(lines) + 1}.",
                "Give its number, 0 for the first class or -1 for the last.",
            )
        return (*lines[:place], "", *lines[place:])


def edit_distance(one: str, other: str) -> int:
    """Fewest characters to insert, delete or replace (Levenshtein, 1966).

    Args:
        one: A text; one of its code points is a character.
        other: Another one.
    """
    codes = np.array([ord(each) for each in other], np.int64)
    steps = np.arange(len(other) + 1)
    row = steps
    for index, character in enumerate(one, start=1):
        # Replace or keep, and delete; then every insertion at once: what comes from the left costs
        # one for each step.
        best = np.minimum(row[:-1] + (codes != ord(character)), row[1:] + 1)
        row = np.minimum.accumulate(np.concatenate([[index], best]) - steps) + steps
    return int(row[-1])


def _collapsed(classes: Array, alphabet: Sequence[str]) -> str:
    is_new = np.ones(len(classes), bool)
    is_new[1:] = classes[1:] != classes[:-1]
    return "".join(alphabet[each] for each in classes[is_new])
