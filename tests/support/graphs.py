"""Small ONNX graphs with Q/DQ that grow node by node, and ONNX Runtime to run them as written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
from onnx import NodeProto, TensorProto, helper, numpy_helper

from trtqat.tensors import Array

EPSILON = 1e-5


@dataclass
class Graph:
    """An ONNX graph with the input ``x``; every node is named after its first output."""

    shape: tuple[int, ...]
    nodes: list[NodeProto] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    inputs: dict[str, tuple[int | str, ...]] = field(default_factory=dict)

    def node(
        self, op_type: str, inputs: list[str], output: str, *others: str, **attributes: Any
    ) -> str:
        self.nodes.append(
            helper.make_node(op_type, inputs, [output, *others], name=f"/{output}", **attributes)
        )
        return output

    def constant(self, name: str, array: Array) -> str:
        self.constants[name] = array
        return name

    def pair(
        self,
        tensor: str,
        scale: Array | float,
        axis: int | None = None,
        name: str = "",
        zero_point: Array | None = None,
    ) -> str:
        """Q and DQ on a tensor; all that is made is named after the tensor, or ``name``."""
        attributes = {} if axis is None else {"axis": axis}
        name = name or tensor
        scale = np.asarray(scale, np.float32)
        names = [
            self.constant(f"{name}.scale", scale),
            self.constant(
                f"{name}.zero_point",
                np.zeros(scale.shape, np.int8) if zero_point is None else zero_point,
            ),
        ]
        self.node("QuantizeLinear", [tensor, *names], f"{name}.q", **attributes)
        return self.node("DequantizeLinear", [f"{name}.q", *names], f"{name}.dq", **attributes)

    def conv(
        self,
        data: str,
        output: str,
        channels: tuple[int, int] = (4, 4),
        *,
        kernel: int = 1,
        quantized: bool = True,
        **attributes: Any,
    ) -> str:
        """A convolution, without a pair on its data."""
        outputs, inputs = channels
        random = np.random.default_rng(len(self.nodes))
        weight = random.normal(size=(outputs, inputs, kernel, kernel)).astype(np.float32)
        name = self.constant(f"{output}.weight", weight)
        if quantized:
            amax = np.abs(weight).max(axis=(1, 2, 3))
            name = self.pair(name, amax / 127, 0)
        return self.node("Conv", [data, name], output, pads=[kernel // 2] * 4, **attributes)

    def batch_norm(self, tensor: str, norm: BatchNorm, output: str = "y") -> str:
        arrays = {"g": norm.gamma, "b": norm.beta, "m": norm.mean, "v": norm.variance}
        names = [self.constant(f"{output}.{k}", a.astype(np.float32)) for k, a in arrays.items()]
        return self.node("BatchNormalization", [tensor, *names], output, epsilon=EPSILON)

    def proto(self, *outputs: str, opset: int = 17) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "graph",
            [
                helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
                for name, shape in {"x": self.shape, **self.inputs}.items()
            ],
            [helper.make_empty_tensor_value_info(name) for name in outputs],
            [numpy_helper.from_array(array, name) for name, array in self.constants.items()],
        )
        domains = dict.fromkeys(["", *(node.domain for node in self.nodes)])
        opsets = [helper.make_opsetid(each, 1 if each else opset) for each in domains]
        proto = helper.make_model(graph, opset_imports=opsets, ir_version=8 if opset < 18 else 10)
        return onnx.shape_inference.infer_shapes(proto)

    def model(self, *outputs: str, opset: int = 17) -> ir.Model:
        return ir.from_proto(self.proto(*outputs, opset=opset))

    def model_of_bytes(self, *outputs: str, opset: int = 17) -> ir.Model:
        """The same with bytes as the input ``x``."""
        proto = self.proto(*outputs, opset=opset)
        proto.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
        del proto.graph.value_info[:]
        for each in proto.graph.output:
            each.ClearField("type")
        return ir.from_proto(onnx.shape_inference.infer_shapes(proto))


@dataclass
class BatchNorm:
    gamma: Array
    beta: Array
    mean: Array
    variance: Array

    @property
    def multiplier(self) -> Array:
        made: Array = self.gamma / np.sqrt(self.variance + EPSILON)
        return made


def batch_norm(channels: int, seed: int = 0) -> BatchNorm:
    random = np.random.default_rng(seed)
    return BatchNorm(
        random.normal(size=channels).astype(np.float32),
        random.normal(size=channels).astype(np.float32),
        random.normal(size=channels).astype(np.float32),
        random.uniform(0.2, 3, channels).astype(np.float32),
    )


def run(model: ir.Model, x: Array | Mapping[str, Array]) -> list[Array]:
    """Checks a graph and runs it without any optimization."""
    proto: onnx.ModelProto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
    inputs = {"x": x} if isinstance(x, np.ndarray) else dict(x)
    return [np.asarray(array) for array in session.run(None, inputs)]


def operators(model: ir.Model) -> list[str]:
    return [node.op_type for node in model.graph]


def nodes_of(model: ir.Model) -> list[tuple[object, ...]]:
    """Operators, what they read and their attributes; values by where they come from."""
    found: list[tuple[object, ...]] = []
    number: dict[object, int] = {node: index for index, node in enumerate(model.graph)}
    for node in model.graph:
        reads = [
            value
            and (
                number.get(value.producer()),
                None if value.const_value is None else value.const_value.numpy().tobytes(),
            )
            for value in node.inputs
        ]
        attributes = sorted(str(each) for each in node.attributes.values())
        found.append((node.op_type, node.domain, reads, attributes))
    outputs = [number.get(value.producer()) for value in model.graph.outputs]
    return [*found, ("outputs", outputs)]
