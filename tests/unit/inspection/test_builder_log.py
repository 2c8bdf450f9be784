"""The list of layers that TensorRT for RTX logs, as real builds of 1.7.1.116 wrote it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trtqat.inspection.builder_log import read_layer_list
from trtqat.inspection.inspector import EngineLayer, parse_information

DATA = Path(__file__).parents[2] / "data" / "rtx-1.7"


def text_of(name: str) -> str:
    return (DATA / f"layers-{name}.txt").read_text()


def layers_of(name: str) -> dict[str, EngineLayer]:
    found = parse_information(read_layer_list(text_of(name)), name)
    return {layer.name: layer for layer in found}


@pytest.mark.parametrize(
    ("name", "count"), [("depthwise", 9), ("attention", 10), ("transposed", 9), ("casting", 6)]
)
def test_every_line_is_read(name: str, count: int) -> None:
    information = read_layer_list(text_of(name))
    assert len(information["Layers"]) == count
    assert all(isinstance(layer, dict) for layer in information["Layers"])
    assert json.loads(json.dumps(information)) == information


def test_what_multiplies() -> None:
    layers = layers_of("depthwise")
    products = [layer for layer in layers.values() if layer.is_product]
    assert [layer.onnx_nodes[0] for layer in products] == [
        "/layers/0/Conv",
        "/layers/3/Conv",
        "/layers/6/Conv",
    ]
    depthwise = layers["/layers/3/Conv_myl0_4"]
    assert (depthwise.kind, depthwise.weight_dtype) == ("correlation", "int8")
    # 24 channels in groups of one, widened to groups of four: 24 * 4 * 3 * 3.
    assert depthwise.weight_count == 864
    assert [tensor.dtype for tensor in depthwise.inputs] == ["int8"]
    assert [tensor.dtype for tensor in depthwise.outputs] == ["float32"]


def test_attention_is_one_kernel_with_two_products() -> None:
    (attention,) = (
        layer for layer in layers_of("attention").values() if layer.name.startswith("_gemm_mha")
    )
    assert attention.is_product
    assert {"/MatMul", "/MatMul_1"} <= set(attention.onnx_nodes)
    assert [tensor.dtype for tensor in attention.inputs] == ["int8"] * 3
    assert attention.weight_dtype == ""


def test_a_transposed_convolution_reads_floats() -> None:
    (deconv,) = (layer for layer in layers_of("transposed").values() if layer.kind == "deconv")
    assert {tensor.dtype for tensor in deconv.inputs} == {"float32"}


def line(**changes: Any) -> str:
    tensor = "{{ Name: {name}, Dimensions: [-1,4], Strides: [4,1], StrideOrder: [1,0], "
    tensor += "Datatype: Int8, Format: (Linear) Row major linear format }}"
    fields = {"name": "/fc/Gemm_myl0_8", "tensor": "x", "metadata": "[ONNX Layer: /fc/Gemm]"}
    fields |= changes
    return (
        f"Name: {fields['name']}, LayerType: gemm, "
        f"Inputs: [ {tensor.format(name=fields['tensor'])}], Constants: [], Outputs: [], "
        f"TacticName: stub, StreamId: 0, Metadata: {fields['metadata']}"
    )


def read(text: str) -> Any:
    (layer,) = read_layer_list(f"Layers:\n{text}\n\nI/O Tensors:\n Name: x")["Layers"]
    return layer


def test_a_line_in_its_form() -> None:
    found = read(line())
    assert found["Name"] == "/fc/Gemm_myl0_8"
    assert found["Inputs"][0]["Dimensions"] == [-1, 4]
    assert found["Metadata"] == "[ONNX Layer: /fc/Gemm]"


@pytest.mark.parametrize(
    "text",
    [
        line(name="a, LayerType: correlation, Inputs: [], Constants: [], Outputs: []"),
        line(metadata="[ONNX Layer: /a], Metadata: [ONNX Layer: /b]"),
        line(tensor="x }, { Name: y"),
        line().replace("Datatype: Int8, ", ""),
        line().replace("StreamId: 0", "StreamId: first"),
        line().removesuffix("Metadata: [ONNX Layer: /fc/Gemm]"),
        "something that a later version may say",
        # If all ways to read it were tried, it would take hours.
        "Name: "
        + ", LayerType: x, Inputs: [], Constants: [], Outputs: [], TacticName: t, " * 200
        + "StreamId: x, Metadata: ",
    ],
)
def test_what_can_be_read_in_two_ways_is_not_read(text: str) -> None:
    assert read(text) == text


@given(st.text(st.characters(codec="utf-8", exclude_characters="\n\r")))
def test_any_name_is_kept_or_its_line_is_not_read(name: str) -> None:
    text = line(name=name)
    found = read(text)
    assert found == text or found["Name"] == name
    if isinstance(found, dict):
        assert found["LayerType"] == "gemm"
