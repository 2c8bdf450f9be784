"""A verification says no more than what was compared."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from trtqat.exporting.verification.end_to_end import EndToEnd
from trtqat.exporting.verification.example import Example
from trtqat.exporting.verification.reference import OF_MODEL
from trtqat.exporting.verification.result import Pieces, Verification, VerifiedOutput
from trtqat.report.verification_words import describe_agreement

Y = VerifiedOutput("y", (2, 5), 8.6, 0.5)
FOUND = Verification((2, 1, 3), 8.6, "output 'y', batch 0, position 1", 0.5, (Y,), 30)
PIECES = Pieces(7, 118.4, "quantizer 'q'")


def words(agreement: Verification) -> str:
    return "\n".join(describe_agreement(agreement))


def test_a_model_that_amplifies_rounding_is_called_so() -> None:
    said = words(replace(FOUND, pieces=PIECES, own_db=9.3))
    assert "each of 7 activations and outputs is that of the source, at 118.4 dB or better" in said
    assert "8.6 dB SQNR (output 'y', batch 0, position 1), worst difference 0.5" in said
    assert "this model amplifies rounding" in said
    assert "moves it to 9.3 dB from itself" in said


def test_one_that_was_not_seen_to_is_not() -> None:
    said = words(replace(FOUND, pieces=PIECES, own_db=math.inf))
    assert "amplifies" not in said
    assert "moves it to identical" not in said
    assert "trtqat eval" in said


def test_without_pieces_none_are_claimed() -> None:
    said = words(replace(FOUND, sqnr_db=40.0))
    assert said.startswith("verified with ONNX Runtime, end to end, at batch 2, 1, 3: 40.0 dB")
    assert "activations" not in said


def test_the_worst_difference_may_be_another_output_s() -> None:
    found = EndToEnd(OF_MODEL)
    expected = {"large": np.full((1, 3), 1000.0), "small": np.full((1, 3), 0.01)}
    moved = {"large": expected["large"] + 0.5, "small": expected["small"] + 0.001}
    found.add(Example({"x": np.zeros((1, 3))}, expected), moved)
    (said,) = (line for line in describe_agreement(found.found()) if "end to end" in line)
    assert said.endswith("20.0 dB SQNR (output 'small', batch 0, position 0), worst difference 0.5")


def test_equal_values_and_every_output() -> None:
    same = replace(Y, sqnr_db=math.inf, worst=0.0)
    found = replace(FOUND, sqnr_db=math.inf, outputs=(same, replace(same, name="z")))
    said = words(replace(found, pieces=replace(PIECES, least_db=math.inf)))
    assert "bit for bit" in said
    assert "all 30 values are equal" in said
    assert "output 'z' (2, 5): identical" in said
