"""Every family of models: the exported graph passes, and no mutation of it does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tests.support.models import EXAMPLES
from trtqat.errors import ExportError
from trtqat.exporting import pipeline
from trtqat.exporting.model_reference import ModelReference
from trtqat.exporting.options import ExportOptions
from trtqat.exporting.pipeline import export_onnx
from trtqat.exporting.verification.cut import computed_tensors, cuts_of
from trtqat.exporting.verification.example import Example
from trtqat.exporting.verification.reference import OF_MODEL
from trtqat.exporting.verification.result import Verification
from trtqat.exporting.verification.verify import verify
from trtqat.graph_file.serialized import Serialized
from trtqat.runtime.onnx_model import OnnxModel
from trtqat.tensors import Array


@dataclass(frozen=True)
class Recorded:
    """A model that does not run again."""

    examples: Sequence[Example]
    words = OF_MODEL

    def complete(self, example: Example, graph: Serialized) -> Example:
        return example


@dataclass(frozen=True)
class Verified:
    """What the export of a family compared."""

    graph: bytes
    examples: Sequence[Example]
    agreement: Verification

    def verify(self, graph: onnx.ModelProto) -> Verification:
        return verify(graph.SerializeToString(), Recorded(self.examples))

    def shows(self, graph: onnx.ModelProto) -> bool:
        """Whether a graph returns anything else: a channel that is nowhere above 0 may not."""
        models = [onnx.load_from_string(self.graph), graph]
        runs = [OnnxModel(each.SerializeToString(), as_written=True) for each in models]
        inputs = self.examples[0].inputs
        first, second = (each.session(1).run(inputs) for each in runs)
        return any(not np.array_equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module", params=EXAMPLES)
def verified(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Verified:
    example = EXAMPLES[request.param]
    seen: list[Any] = []

    def spy(graph: bytes, reference: ModelReference, **options: Any) -> Verification:
        complete = [reference.complete(each, graph) for each in reference.examples]
        seen.extend((graph, complete))
        return verify(graph, reference, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "verify", spy)
        path: Path = tmp_path_factory.mktemp("graph") / "model.onnx"
        options = ExportOptions(example.inputs, exporter="torchscript")
        result = export_onnx(example.qat(), path, options)
    return Verified(seen[0], seen[1], result.verification)


def test_every_activation_and_output_is_compared(verified: Verified) -> None:
    proto = onnx.load_from_string(verified.graph)
    pieces = verified.agreement.pieces
    assert pieces is not None
    assert pieces.count == len(cuts_of(proto)) + len(proto.graph.output)
    assert pieces.least_db > 110


def initializer(proto: onnx.ModelProto, name: str, change: Callable[[Array], Array]) -> None:
    for each in proto.graph.initializer:
        if each.name == name:
            changed = change(numpy_helper.to_array(each).copy())
            each.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(changed), name))


def weight_scales(proto: onnx.ModelProto) -> list[onnx.NodeProto]:
    computed = computed_tensors(proto)
    return [
        node
        for node in proto.graph.node
        if node.op_type == "DequantizeLinear" and node.output[0] not in computed
    ]


def activation_pairs(proto: onnx.ModelProto) -> list[onnx.NodeProto]:
    cuts = cuts_of(proto)
    return [node for node in proto.graph.node if node.output and node.output[0] in cuts]


def one_channel(scale: Array) -> Array:
    flat = scale.reshape(-1)
    flat[-1] *= 1.02
    return scale


def test_a_scale_that_is_off_by_a_hundredth_is_caught_wherever_it_is(verified: Verified) -> None:
    nodes = activation_pairs(onnx.load_from_string(verified.graph))
    assert nodes
    for node in nodes:
        proto = onnx.load_from_string(verified.graph)
        initializer(proto, node.input[1], lambda scale: np.asarray(scale * np.float32(1.01)))
        with pytest.raises(ExportError):
            verified.verify(proto)


def test_a_channel_of_a_weight_that_is_off_is_caught_wherever_it_is(verified: Verified) -> None:
    seen = 0
    for node in weight_scales(onnx.load_from_string(verified.graph)):
        proto = onnx.load_from_string(verified.graph)
        initializer(proto, node.input[1], one_channel)
        if verified.shows(proto):
            seen += 1
            with pytest.raises(ExportError):
                verified.verify(proto)
    assert seen


def test_an_order_of_channels_that_is_wrong_is_caught(verified: Verified) -> None:
    for node in weight_scales(onnx.load_from_string(verified.graph)):
        proto = onnx.load_from_string(verified.graph)
        scale = next(each for each in proto.graph.initializer if each.name == node.input[1])
        if numpy_helper.to_array(scale).size == 1:
            continue
        initializer(proto, node.input[1], lambda scale: np.roll(scale, 1))
        with pytest.raises(ExportError):
            verified.verify(proto)


def test_an_operator_that_is_another_one_is_caught(verified: Verified) -> None:
    proto = onnx.load_from_string(verified.graph)
    others = {"Relu": "Abs", "Add": "Sub", "Softmax": "LogSoftmax", "ReduceMean": "ReduceMax"}
    nodes = [at for at, node in enumerate(proto.graph.node) if node.op_type in others]
    computed = computed_tensors(proto)
    for at in nodes:
        proto = onnx.load_from_string(verified.graph)
        node = proto.graph.node[at]
        if node.output[0] in computed:
            node.op_type = others[node.op_type]
            with pytest.raises(ExportError):
                verified.verify(proto)
