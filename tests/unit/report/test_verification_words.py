"""A verification says no more than what was compared."""

from __future__ import annotations

import math
from dataclasses import replace

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
    assert "8.6 dB SQNR, worst difference 0.5 (output 'y', batch 0, position 1)" in said
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


def test_equal_values_and_every_output() -> None:
    same = replace(Y, sqnr_db=math.inf, worst=0.0)
    found = replace(FOUND, sqnr_db=math.inf, outputs=(same, replace(same, name="z")))
    said = words(replace(found, pieces=replace(PIECES, least_db=math.inf)))
    assert "bit for bit" in said
    assert "all 30 values are equal" in said
    assert "output 'z' (2, 5): identical" in said
