"""Triton's ``config.pbtxt``, read with Triton's own protobuf schema."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.triton_engines import (
    CLASSIFIER,
    OPTIONS,
    SCHEMA,
    batches,
    config_of,
    engine,
    refused,
    text_format,
)
from trtqat.building.triton.config import TritonOptions, config_text
from trtqat.plan.manifest import ProfileShapes
from trtqat.tensors import TensorSpec


def tensor(kind: str, name: str, data_type: str, dims: list[int], **fields: Any) -> Any:
    types = SCHEMA.DataType.Value(data_type)
    return getattr(SCHEMA, kind)(name=name, data_type=types, dims=dims, **fields)


def warm_up(data_type: str, dims: list[int], *, is_random: bool) -> Any:
    data = {"random_data": True} if is_random else {"zero_data": True}
    return SCHEMA.ModelWarmup.Input(data_type=SCHEMA.DataType.Value(data_type), dims=dims, **data)


GPU = SCHEMA.ModelInstanceGroup.KIND_GPU


def test_bytes_of_images(tmp_path: Path) -> None:
    images = TensorSpec("images", (-1, 32, 32, 3), "uint8")
    shapes = ProfileShapes((1, 32, 32, 3), (32, 32, 32, 3), (128, 32, 32, 3))
    taking_bytes = replace(CLASSIFIER, inputs=(images,), profiles={"images": shapes})
    found = config_of(taking_bytes, tmp_path / "models")
    assert list(found.input) == [tensor("ModelInput", "images", "TYPE_UINT8", [32, 32, 3])]


def test_classifier(tmp_path: Path) -> None:
    assert config_of(CLASSIFIER, tmp_path / "models") == SCHEMA.ModelConfig(
        name="model",
        platform="tensorrt_plan",
        max_batch_size=128,
        input=[tensor("ModelInput", "images", "TYPE_FP32", [3, 32, 32])],
        output=[tensor("ModelOutput", "logits", "TYPE_FP32", [10])],
        instance_group=[{"count": 1, "kind": GPU}],
        dynamic_batching={"preferred_batch_size": [32], "max_queue_delay_microseconds": 100},
        optimization={"cuda": {"graphs": True}},
        model_warmup=[
            {
                "name": "optimum",
                "batch_size": 32,
                "inputs": {"images": warm_up("TYPE_FP32", [3, 32, 32], is_random=True)},
            }
        ],
    )


def test_several_inputs_of_several_types(tmp_path: Path) -> None:
    manifest = engine(
        [
            TensorSpec("tokens", (-1, 128), "int64"),
            TensorSpec("mask", (-1, 128), "bool"),
            TensorSpec("image", (-1, 3, 8, 8), "float16"),
            TensorSpec("length", (-1,), "int32"),
        ],
        [TensorSpec("embedding", (-1, 64), "float16"), TensorSpec("class", (-1,), "int32")],
        batches(1, 4, 8, 128),
        batches(1, 4, 8, 128),
        batches(1, 4, 8, 3, 8, 8),
        batches(1, 4, 8),
    )
    options = TritonOptions("m", instances=3, max_queue_delay_us=2500, cuda_graph=False)
    # What has the batch as its only dimension has one number for each of it.
    number: dict[str, Any] = {"dims": [1], "reshape": SCHEMA.ModelTensorReshape(shape=[])}
    assert config_of(manifest, tmp_path, options) == SCHEMA.ModelConfig(
        name="m",
        platform="tensorrt_plan",
        max_batch_size=8,
        input=[
            tensor("ModelInput", "tokens", "TYPE_INT64", [128]),
            tensor("ModelInput", "mask", "TYPE_BOOL", [128]),
            tensor("ModelInput", "image", "TYPE_FP16", [3, 8, 8]),
            tensor("ModelInput", "length", "TYPE_INT32", **number),
        ],
        output=[
            tensor("ModelOutput", "embedding", "TYPE_FP16", [64]),
            tensor("ModelOutput", "class", "TYPE_INT32", **number),
        ],
        instance_group=[{"count": 3, "kind": GPU}],
        dynamic_batching={"preferred_batch_size": [4], "max_queue_delay_microseconds": 2500},
        model_warmup=[
            {
                "name": "optimum",
                "batch_size": 4,
                "inputs": {
                    # No random token: it could be beyond the embedding.
                    "tokens": warm_up("TYPE_INT64", [128], is_random=False),
                    "mask": warm_up("TYPE_BOOL", [128], is_random=False),
                    "image": warm_up("TYPE_FP16", [3, 8, 8], is_random=True),
                    "length": warm_up("TYPE_INT32", [1], is_random=False),
                },
            }
        ],
    )


def test_static_batch(tmp_path: Path) -> None:
    spec = TensorSpec("x", (8, 3, 4, 4))
    shapes = ProfileShapes(spec.shape, spec.shape, spec.shape)
    config = config_of(engine([spec], [TensorSpec("y", (8, 10))], shapes), tmp_path)
    assert config == SCHEMA.ModelConfig(
        name="model",
        platform="tensorrt_plan",
        max_batch_size=0,
        input=[tensor("ModelInput", "x", "TYPE_FP32", [8, 3, 4, 4])],
        output=[tensor("ModelOutput", "y", "TYPE_FP32", [8, 10])],
        instance_group=[{"count": 1, "kind": GPU}],
        model_warmup=[
            {
                "name": "optimum",
                "batch_size": 1,
                "inputs": {"x": warm_up("TYPE_FP32", [8, 3, 4, 4], is_random=True)},
            }
        ],
    )


def test_dynamic_sizes(tmp_path: Path) -> None:
    manifest = engine(
        [TensorSpec("x", (-1, 3, -1, -1))],
        [TensorSpec("mask", (-1, 21, -1, -1))],
        ProfileShapes((1, 3, 64, 64), (2, 3, 480, 640), (4, 3, 1024, 1024)),
    )
    config = config_of(manifest, tmp_path)
    assert (config.max_batch_size, list(config.input[0].dims)) == (4, [3, -1, -1])
    assert list(config.output[0].dims) == [21, -1, -1]
    (sample,) = config.model_warmup
    assert (sample.batch_size, list(sample.inputs["x"].dims)) == (2, [3, 480, 640])


@pytest.mark.parametrize(
    ("first", "output"), [((-1, 3), (10,)), ((-1, 3), (7, 10)), ((2, 3), (-1, 10))]
)
def test_no_batching_unless_every_tensor_has_a_batch(
    first: tuple[int, ...], output: tuple[int, ...], tmp_path: Path
) -> None:
    manifest = engine(
        [TensorSpec("a", first), TensorSpec("b", (-1, 4))],
        [TensorSpec("y", output)],
        ProfileShapes((2, 3), (2, 3), (2, 3)),
        batches(2, 3, 4, 4),
    )
    config = config_of(manifest, tmp_path)
    assert config.max_batch_size == 0
    assert [list(spec.dims) for spec in config.input] == [list(first), [-1, 4]]
    assert list(config.output[0].dims) == list(output)
    assert not config.HasField("dynamic_batching")
    assert not config.HasField("optimization")
    assert list(config.model_warmup[0].inputs["b"].dims) == [3, 4]


def test_what_is_off_is_not_there(tmp_path: Path) -> None:
    manifest = replace(CLASSIFIER, profiles={"images": batches(1, 1, 1, 3, 32, 32)})
    options = TritonOptions("m", cuda_graph=False, warm_up=False)
    config = config_of(manifest, tmp_path, options)
    assert config.max_batch_size == 1
    assert not config.HasField("dynamic_batching")
    assert not config.HasField("optimization")
    assert not config.model_warmup


@pytest.mark.parametrize(
    ("dtype", "name"),
    [("float64", "FP64"), ("bfloat16", "BF16"), ("int8", "INT8"), ("int16", "INT16"),
     ("uint8", "UINT8"), ("uint16", "UINT16"), ("uint32", "UINT32"), ("uint64", "UINT64")],
)  # fmt: skip
def test_further_types(dtype: str, name: str, tmp_path: Path) -> None:
    manifest = replace(CLASSIFIER, outputs=(TensorSpec("y", (-1, 2), dtype),))
    (output,) = config_of(manifest, tmp_path).output
    assert SCHEMA.DataType.Name(output.data_type) == f"TYPE_{name}"


@pytest.mark.usefixtures("here")
def test_engines_that_triton_cannot_serve() -> None:
    images = TensorSpec("images", (-1, 3, 32, 32))
    two = engine(
        [images, TensorSpec("b", (-1, 4))],
        [TensorSpec("y", (-1, 2))],
        batches(1, 2, 4, 3, 32, 32),
        batches(1, 2, 8, 4),
    )
    refused(two, r"takes 1:2:4 for 'images' and 1:2:8 for 'b'.* as --batch 1:2:4\.")
    above_1 = replace(CLASSIFIER, profiles={"images": batches(8, 32, 64, 3, 32, 32)})
    refused(above_1, r"from 1 on, but the engine takes 8:32:64\. .*--batch 1:32:64")
    refused(
        replace(CLASSIFIER, outputs=(TensorSpec("y", (-1, 2), "float8_e4m3fn"),)),
        "'y' is of dtype float8_e4m3fn, which Triton does not have",
    )
    refused(replace(CLASSIFIER, outputs=(TensorSpec("loss", ()),)), "'loss' has no dimension")


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".hidden", "a/b", "a\\b", "a b", "ä", "a\n", "-a", 'a"b', "a%20b", "a" * 256],
)
def test_names_that_clients_cannot_ask_for(name: str) -> None:
    refused(CLASSIFIER, "no name for a Triton model", TritonOptions(name))


def test_a_name_as_long_as_that_of_a_directory_can_be(tmp_path: Path) -> None:
    assert config_of(CLASSIFIER, tmp_path, TritonOptions("a" * 255)).name == "a" * 255


@pytest.mark.usefixtures("here")
def test_options_out_of_range() -> None:
    refused(CLASSIFIER, "0 instances", TritonOptions("m", instances=0))
    refused(CLASSIFIER, "cannot wait for -1", TritonOptions("m", max_queue_delay_us=-1))


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=2, unique=True)
)
def test_tensor_names_arrive_as_they_are(names: list[str]) -> None:
    inputs = [TensorSpec(name, (-1, 3)) for name in names]
    profiles = {name: batches(1, 2, 4, 3) for name in names}
    text = config_text(inputs, inputs, profiles, OPTIONS)
    config = text_format.Parse(text, SCHEMA.ModelConfig())
    assert [spec.name for spec in config.input] == names
    assert [spec.name for spec in config.output] == names
    assert set(config.model_warmup[0].inputs) == set(names)
