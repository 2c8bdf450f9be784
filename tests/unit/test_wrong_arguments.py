"""Wrong arguments of the package's functions and options are refused at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from torch import nn

import trtqat
from trtqat.building.options import BuildOptions
from trtqat.errors import UsageError
from trtqat.evaluation.options import EvaluateOptions
from trtqat.evaluation.timing import LatencyOptions
from trtqat.exporting.options import ExportOptions
from trtqat.graph.passes.improvements import ImproveOptions
from trtqat.quant.training import insert_quantizers
from trtqat.tensors import TensorSpec

X = TensorSpec("x", (1, 3, 16, 16))


@pytest.mark.parametrize(
    ("make", "arguments", "said"),
    [
        (ExportOptions, {"inputs": (3, 3)}, "An input of ExportOptions is 3, a int"),
        (ExportOptions, {"inputs": "x:1x3"}, "ExportOptions.inputs is 'x:1x3', a str"),
        (ExportOptions, {"inputs": X}, "ExportOptions.inputs is TensorSpec"),
        (
            ExportOptions,
            {"inputs": (X,), "exporter": "onnx"},
            "exporter is 'onnx', which",
        ),
        (ExportOptions, {"inputs": (X,), "precision": "int8"}, "precision is 'int8'"),
        (ExportOptions, {"inputs": (X,), "opset": "17"}, "opset is '17', a str"),
        (ExportOptions, {"inputs": (X,), "static_batch": 1}, "static_batch is 1"),
        (ExportOptions, {"inputs": (X,), "seed": -1}, "seed is -1"),
        (ExportOptions, {"inputs": (X,), "min_sqnr_db": float("nan")}, "min_sqnr_db is nan"),
        (ImproveOptions, {"repair": 1}, "ImproveOptions.repair is 1"),
        (ImproveOptions, {"int8_weights": "no"}, "ImproveOptions.int8_weights is 'no'"),
        (TensorSpec, {"name": "x", "shape": 3}, "The shape of 'x' is 3, a int"),
        (TensorSpec, {"name": "x", "shape": ("N", 3)}, "which are not integers"),
        (TensorSpec, {"name": (1, 3), "shape": "x"}, "TensorSpec.name is"),
        (BuildOptions, {"precision": "fp8"}, "precision is 'fp8'"),
        (BuildOptions, {"timing_cache": 3}, "timing_cache is 3"),
        (EvaluateOptions, {"latency": 2.0}, "EvaluateOptions.latency is 2.0"),
        (EvaluateOptions, {"sweep": 8}, "EvaluateOptions.sweep is 8"),
        (EvaluateOptions, {"in_flight": -3}, "EvaluateOptions.in_flight is -3"),
        (EvaluateOptions, {"min_sqnr_db": "20"}, "EvaluateOptions.min_sqnr_db is '20', a str"),
        (EvaluateOptions, {"max_accuracy_drop": -1}, "EvaluateOptions.max_accuracy_drop is -1"),
        (EvaluateOptions, {"min_speedup": -1.0}, "EvaluateOptions.min_speedup is -1.0"),
        (EvaluateOptions, {"like": "trtexec-9"}, "EvaluateOptions.like is 'trtexec-9'"),
        (EvaluateOptions, {"layer_times": "yes"}, "EvaluateOptions.layer_times is 'yes', a str"),
        (LatencyOptions, {"duration_s": -5}, "LatencyOptions.duration_s is -5"),
        (LatencyOptions, {"warm_up_ms": "200"}, "LatencyOptions.warm_up_ms is '200'"),
        (LatencyOptions, {"duration_s": float("nan")}, "LatencyOptions.duration_s is nan"),
        (LatencyOptions, {"duration_s": float("inf")}, "LatencyOptions.duration_s is inf"),
        (LatencyOptions, {"warm_up_ms": -1.0}, "LatencyOptions.warm_up_ms is -1.0"),
        (trtqat.InspectOptions, {"passes": "9"}, "InspectOptions.passes is '9'"),
        (trtqat.InspectOptions, {"graph": 3}, "InspectOptions.graph is 3"),
        (trtqat.InspectOptions, {"roofline": 1}, "InspectOptions.roofline is 1"),
        (trtqat.lint, {"graph": 3}, "The graph is 3"),
        (trtqat.build, {"graph": 3, "plan": "p"}, "The graph is 3"),
        (trtqat.build, {"graph": "g.onnx", "plan": None}, "The plan is None"),
        (trtqat.preflight, {"plan": 3}, "The plan is 3"),
        (trtqat.preflight, {"plan": "p", "host": "here"}, "The host is 'here'"),
        (trtqat.preflight, {"plan": "p", "trust": 3}, "The key to trust is 3"),
        (trtqat.preflight, {"plan": "p", "flavour": "fat"}, "The flavour is 'fat'"),
        (trtqat.open, {"path": "p", "flavour": "fat"}, "flavour of open is 'fat'"),
        (trtqat.open, {"path": "p", "weights": 3}, "weights of open is 3"),
        (trtqat.inspect, {"path": 3}, "The file to inspect is 3"),
        (
            trtqat.inspect,
            {"path": "p", "options": {"strict": True}},
            "The options of an inspection is {'strict'",
        ),
        (EvaluateOptions, {"min_sqnr_db": "20"}, "EvaluateOptions.min_sqnr_db is '20'"),
        (EvaluateOptions, {"layer_times": 1}, "EvaluateOptions.layer_times is 1"),
        (EvaluateOptions, {"like": "trtexec"}, "EvaluateOptions.like is 'trtexec'"),
        (trtqat.ModelSource, {"pointer": print}, "ModelSource.pointer is"),
        (
            trtqat.ModelSource,
            {"pointer": "f.py:f", "checkpoint": {"w": 1}},
            "ModelSource.checkpoint is",
        ),
        (trtqat.open_dataset, {"spec": 3, "inputs": [X]}, "The data is 3"),
        (trtqat.open_dataset, {"spec": "random", "inputs": [X], "limit": "8"}, "The limit is '8'"),
    ],
)
def test_wrong_arguments_are_refused_at_once(
    make: Callable[..., Any], arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        make(**arguments)
    assert said in caught.value.problem
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"skip": "fc"}, "skip is 'fc', where a list of names belongs"),
        ({"skip": [3]}, "skip is"),
        ({"skip": None}, "skip is None"),
        ({"calibrator": "entropy"}, "calibrator is 'entropy', which is no choice"),
        ({"transposed": "yes"}, "transposed is 'yes'"),
    ],
)
def test_wrong_arguments_insert_nothing(arguments: dict[str, Any], said: str) -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten())
    with pytest.raises(UsageError) as caught:
        insert_quantizers(model, **arguments)
    assert said in caught.value.problem
    assert type(model[0]) is nn.Conv2d


LONG, NULL = "x" * 5000, "a\0b"


@pytest.mark.parametrize("name", [LONG, NULL])
@pytest.mark.parametrize(
    "use",
    [
        lambda name: trtqat.lint(f"{name}.onnx"),
        lambda name: trtqat.inspect(name),
        lambda name: trtqat.open(f"{name}.onnx"),
        lambda name: trtqat.open(name),
        lambda name: trtqat.build(name, "m.engine"),
        lambda name: trtqat.export(name, "m.onnx"),
        lambda name: trtqat.export("f.py:f", name),
        lambda name: trtqat.export(f"{name}.py:f", "m.onnx"),
        lambda name: trtqat.export("f.py:f", "m.onnx", checkpoint=name),
        lambda name: trtqat.open_dataset(f"npz:{name}", [X]),
        lambda name: trtqat.open_dataset(f"cifar10:{name}", [TensorSpec("x", (1, 3, 32, 32))]),
        lambda name: trtqat.open_dataset(f"idx:{name}", [TensorSpec("x", (1, 1, 28, 28))]),
        lambda name: trtqat.open_dataset(f"{name}.py:f", [X]),
    ],
)
def test_a_name_that_no_file_can_have_is_refused(use: Callable[[str], Any], name: str) -> None:
    with pytest.raises(UsageError) as caught:
        use(name)
    assert caught.value.remedy
