"""What an export recorded is read field by field, and nothing of it is lost on the way."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trtqat.io_names import NameRecord
from trtqat.pixels import Pixels
from trtqat.provenance import Provenance, provenance_of, read_provenance

SHIPPED = Path(__file__).parents[1] / "data" / "shipped"
FULL = Provenance(
    version="0.1.0",
    source="vgg16.py:qat",
    source_sha256="0" * 64,
    factory_args={"width": 0.25, "classes": [1, 2], "seed": 10**30},
    checkpoint="qat.pt",
    checkpoint_sha256="1" * 64,
    ema=False,
    exporter="TorchScript exporter",
    quantizers=("features.0", "features.3"),
    quantized_inputs={"x": 0.5},
    pixels={"images": Pixels("nhwc", (0.485, 0.456, 0.406), (0.229,), 255.0, True)},
    qdq_pairs=2,
    int8_share=1.0,
    io_names=NameRecord(("x",), ("y", "z"), ("first", "second")),
    calibration={"method": "auto", "images": 512},
    verification={"sqnr_db": float("inf"), "batch_sizes": [2, 1, 3]},
)


def test_every_field_is_read_as_it_was_written() -> None:
    assert all(value is not None for value in vars(FULL).values())
    assert read_provenance(FULL.to_json()) == FULL
    assert set(json.loads(FULL.to_json())) == set(vars(FULL)) - {"others"}
    assert Provenance().to_json() == "{}"


def test_what_a_real_export_recorded() -> None:
    recorded = json.loads((SHIPPED / "manifest-plain.json").read_text())["provenance"]
    found = read_provenance(json.dumps(recorded))
    assert (found.version, found.checkpoint, found.qdq_pairs) == ("0.1.0", "qat.pt", 33)
    assert found.factory_args == {"classifier": 256, "width": 0.25}
    assert found.quantizers is None
    assert found.others == {}
    assert found.to_json() == json.dumps(recorded, sort_keys=True)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
NAMES = st.sampled_from([*vars(FULL), "of_a_later_version"])


@given(st.dictionaries(NAMES, JSON))
def test_what_anybody_recorded_is_written_again(recorded: dict[str, object]) -> None:
    text = json.dumps(recorded, sort_keys=True)
    assert read_provenance(text).to_json() == text


@given(st.text(max_size=20) | JSON.map(json.dumps))
def test_somebody_else_s_metadata_say_nothing(text: str) -> None:
    assert isinstance(read_provenance(text), Provenance)


def test_a_field_that_makes_no_sense_does_not_spoil_the_others() -> None:
    found = provenance_of({"quantizers": "features.0", "checkpoint": "qat.pt", "ema": None})
    assert (found.quantizers, found.checkpoint, found.ema) == (None, "qat.pt", None)
    assert found.to_fields() == {"quantizers": "features.0", "checkpoint": "qat.pt", "ema": None}


def test_what_a_later_version_added_to_a_field_is_kept() -> None:
    names = {"inputs": ["x"], "outputs": ["y"], "returned": [], "layouts": {"x": "NCHW"}}
    found = provenance_of({"io_names": names})
    assert found.io_names == NameRecord(("x",), ("y",))
    assert found.to_fields() == {"io_names": names}
    # A new value is not that of the later version.
    changed = replace(found, io_names=NameRecord(("x",), ("z",)))
    assert changed.to_fields() == {
        "io_names": {"inputs": ("x",), "outputs": ("z",), "returned": ()}
    }


@pytest.mark.parametrize("text", ["", "{", "[1]", "3", "null", "[" * 100_000, "\ud800"])
def test_no_record(text: str) -> None:
    assert read_provenance(text) == Provenance()
