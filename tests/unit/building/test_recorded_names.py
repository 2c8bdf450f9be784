"""Every TensorRT name that the sources use, against TensorRT's recorded bindings.

``tests/data/tensorrt_api.json`` holds names and signatures taken from NVIDIA's packages. This
shows that the names exist; what TensorRT does with them is for tests/gpu.
"""

from __future__ import annotations

import ast
import functools
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.recorded_api import API, RTX, VERSIONS

ROOT = Path(__file__).parents[3]

# Which name in which file holds which TensorRT object; a private name stands without "_".
OBJECTS = {
    "building/made_plan.py": {"runtime": "Runtime"},
    "building/rtx.py": {
        "config": "IBuilderConfig",
        "capabilities": "ComputeCapability",
        "builder": "Builder",
        "definition": "INetworkDefinition",
        "layer": "ILayer",
    },
    "building/network.py": {
        "builder": "Builder",
        "definition": "INetworkDefinition",
        "parser": "OnnxParser",
        "config": "IBuilderConfig",
        "shapes": "IOptimizationProfile",
        "t": "ITensor",
    },
    "building/progress.py": {
        "builder": "Builder",
        "config": "IBuilderConfig",
        "base": "IProgressMonitor",
    },
    "building/timing_cache.py": {"config": "IBuilderConfig", "cache": "ITimingCache"},
    "building/versions.py": {
        "config": "IBuilderConfig",
        "parser": "OnnxParser",
        "error": "ParserError",
        "flags": "NetworkDefinitionCreationFlag",
        "definition": "INetworkDefinition",
        "layer": "ILayer",
    },
    "runtime/deserialized.py": {"runtime": "Runtime"},
    "runtime/engine.py": {"engine": "ICudaEngine"},
    "runtime/layer_reports.py": {
        "context": "IExecutionContext",
        "engine": "ICudaEngine",
        "inspector": "EngineInspector",
        "base": "IProfiler",
    },
    "runtime/engine_io.py": {"engine": "ICudaEngine"},
    "runtime/refit.py": {"parser": "OnnxParserRefitter", "refitter": "Refitter"},
    "runtime/rtx.py": {
        "engine": "ICudaEngine",
        "config": "IRuntimeConfig",
        "specialization": "DynamicShapesKernelSpecializationStrategy",
        "graphs": "CudaGraphStrategy",
    },
    "runtime/runtime_cache.py": {"cache": "IRuntimeCache"},
    "runtime/context_shapes.py": {"context": "IExecutionContext"},
    "runtime/session.py": {"context": "IExecutionContext"},
    "host/plugins.py": {"registry": "IPluginRegistry", "creator": "IPluginCreator"},
    "host/rtx_validity.py": {"runtime": "Runtime"},
    "host/tensorrt_library.py": {"engine": "ICudaEngine"},
    "host/tensorrt_log.py": {"severity_of": "ILogger.Severity"},
}
# What runs only where the library is TensorRT for RTX.
RTX_FILES = ("runtime/rtx.py", "runtime/runtime_cache.py")
# Defined in Python by the package, not by the bindings that were recorded.
PYTHON_LEVEL = {
    "nptype",
    "__name__",
    "__version__",
    "ComputeCapability.__members__",
    "EngineInvalidityDiagnostics.__members__",
    # A function of the bindings, of which classes and enums were recorded.
    "init_libnvinfer_plugins",
}
# What only TensorRT for RTX has, and is used where that is the library.
ONLY_RTX = {
    "ComputeCapability",
    "IBuilderConfig.num_compute_capabilities",
    "IBuilderConfig.set_compute_capability",
    "INetworkDefinition.add_identity",
    "INetworkDefinition.add_input",
    "INetworkDefinition.mark_output",
    "ILayer.get_output",
    "Runtime.engine_header_size",
    "Runtime.get_engine_validity",
    "EngineValidity",
    "EngineValidity.VALID",
    "EngineValidity.SUBOPTIMAL",
    "EngineInvalidityDiagnostics",
}
# Where the graph's types decide there is no FP16 to keep a layer from.
OF_WEAK_TYPING = (
    "BuilderFlag.OBEY_PRECISION_CONSTRAINTS",
    "ILayer.precision",
    "ILayer.set_output_type",
)
# The only names that may be missing: whoever uses them asks for them first.
GUARDED: dict[str, set[str]] = {
    "8.6.0": {
        "NetworkDefinitionCreationFlag.STRONGLY_TYPED",
        "ParserError.node_name",
        "ParserError.node_operator",
        "BuilderFlag.STRIP_PLAN",
        "BuilderFlag.REFIT_IDENTICAL",
        "IBuilderConfig.progress_monitor",
        "IProgressMonitor",
        "IProgressMonitor.__init__",
        "OnnxParserRefitter",
        "OnnxParserRefitter.refit_from_file",
        "ICudaEngine.device_memory_size_v2",
        "IPluginRegistry.all_creators",
    },
    "10.3.0": set(),
    "10.13.3.9": set(),
    "11.4.0.106": {
        "NetworkDefinitionCreationFlag.EXPLICIT_BATCH",
        "ICudaEngine.device_memory_size",
        "IPluginRegistry.plugin_creator_list",
        *OF_WEAK_TYPING,
    },
    RTX: {
        "NetworkDefinitionCreationFlag.EXPLICIT_BATCH",
        "ICudaEngine.device_memory_size",
        "IPluginRegistry.plugin_creator_list",
        *OF_WEAK_TYPING,
    },
}

PAIRS = [
    (file, version)
    for file in OBJECTS
    for version in VERSIONS
    if file not in RTX_FILES or version == RTX
]


@functools.cache
def uses(file: str) -> list[tuple[str, ast.Call | None]]:
    """Every TensorRT name in a source, as ``Class.member``, with the call if it is called."""
    tree = ast.parse((ROOT / "trtqat" / file).read_text())
    calls = {id(node.func): node for node in ast.walk(tree) if isinstance(node, ast.Call)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner, _, member = ast.unparse(node).rpartition(".")
            if owner == "trt" or owner.startswith("trt."):
                found.append((f"{owner}.{member}".removeprefix("trt."), calls.get(id(node))))
            else:
                kind = OBJECTS[file].get(owner.removeprefix("self.").removeprefix("_"))
                if kind is not None:
                    found.append((f"{kind}.{member}", calls.get(id(node))))
    return found


def lookup(version: str, name: str) -> Any:
    """What is recorded of ``Class.member`` or ``Class``, or None."""
    classes, enums = API[version]["classes"], API[version]["enums"]
    owner, _, member = name.rpartition(".")
    if not owner or name in enums:
        return name if name in enums else classes.get(name, {}).get("__init__")
    if owner in enums:
        return name if member in enums[owner] else None
    return classes.get(owner, {}).get(member)


def accepts(signature: str, positional: int, keywords: set[str]) -> bool:
    inner = signature[signature.index("(") + 1 : signature.rindex(") ->")]
    parameters = [part for part in re.split(r", (?=\w+: )", inner) if not part.startswith("self:")]
    names = [part.partition(":")[0] for part in parameters]
    required = {name for name, part in zip(names, parameters, strict=True) if " = " not in part}
    given = {*names[:positional], *keywords}
    return positional <= len(names) and keywords <= set(names) and required <= given


@pytest.mark.parametrize(("file", "version"), PAIRS)
def test_every_name_that_is_used_exists(file: str, version: str) -> None:
    names = {name for name, _ in uses(file)} - PYTHON_LEVEL
    assert len(names) >= len(OBJECTS[file])
    missing = {name for name in names if lookup(version, name) is None}
    guarded = GUARDED[version] | (ONLY_RTX if version != RTX else set())
    assert missing == guarded & names


@pytest.mark.parametrize(("file", "version"), PAIRS)
def test_every_call_fits_a_signature(file: str, version: str) -> None:
    for name, call in uses(file):
        signatures = lookup(version, name)
        if call is None or name in PYTHON_LEVEL or signatures is None:
            continue
        keywords = {str(keyword.arg) for keyword in call.keywords}
        # A parent's constructor is called with self.
        positional = len(call.args) - name.endswith(".__init__")
        assert any(accepts(text, positional, keywords) for text in signatures), name


@pytest.mark.parametrize(("file", "version"), PAIRS)
def test_every_property_that_is_set_can_be_set(file: str, version: str) -> None:
    tree = ast.parse((ROOT / "trtqat" / file).read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            kind = OBJECTS[file].get(ast.unparse(node.value))
            name = f"{kind}.{node.attr}"
            if kind is not None and name not in GUARDED[version] | ONLY_RTX:
                assert "(rw)" in lookup(version, name)


def test_names_that_may_be_missing_are_asked_for() -> None:
    asked = {
        node.args[1].value
        for file in OBJECTS
        for node in ast.walk(ast.parse((ROOT / "trtqat" / file).read_text()))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "hasattr"
        and isinstance(node.args[1], ast.Constant)
    }
    assert asked == {
        "EXPLICIT_BATCH",
        "FP16",
        "STRONGLY_TYPED",
        "STRIP_PLAN",
        "node_name",
        "IProgressMonitor",
        "OnnxParserRefitter",
        "ComputeCapability",
        "IRuntimeCache",
        "device_memory_size_v2",
        "all_creators",
        "init_libnvinfer_plugins",
    }


def test_only_tensorrt_for_rtx_compiles_kernels_where_it_loads() -> None:
    caching = {version for version in VERSIONS if "IRuntimeCache" in API[version]["classes"]}
    assert caching == {RTX}
    assert {name for name, _ in uses("runtime/rtx.py")} >= {
        "IRuntimeConfig.dynamic_shapes_kernel_specialization_strategy",
        "IRuntimeConfig.cuda_graph_strategy",
        "DynamicShapesKernelSpecializationStrategy.EAGER",
        "CudaGraphStrategy.WHOLE_GRAPH_CAPTURE",
        "CudaGraphStrategy.DISABLED",
        "IRuntimeConfig.create_runtime_cache",
        "IRuntimeConfig.set_runtime_cache",
        "ICudaEngine.create_execution_context",
    }


def test_the_signature_check_can_fail() -> None:
    signature = API["8.6.0"]["classes"]["IBuilderConfig"]["set_timing_cache"][0]
    assert accepts(signature, 1, {"ignore_mismatch"})
    assert not accepts(signature, 1, {"ignore_mismatches"})
    assert not accepts(signature, 1, set())
    assert not accepts(signature, 3, set())
