"""Our decisions between TensorRT versions, by the enums that each of them has."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.recorded_api import API, RTX, VERSIONS
from trtqat.building import versions
from trtqat.errors import MissingError, UsageError

UP_TO_10 = [version for version in VERSIONS if not version.startswith("11") and version != RTX]


def module(version: str) -> Any:
    """A namespace with the enums of a version: numbers of our own, absences theirs."""
    enums = {
        name: SimpleNamespace(**{member: number for number, member in enumerate(members)})
        for name, members in API[version]["enums"].items()
        if "." not in name
    }
    return SimpleNamespace(__version__=version, **enums)


class Config:
    """Notes what is set."""

    def __init__(self) -> None:
        self.flags: list[int] = []
        self.features: list[tuple[int, bool]] = []
        self.hardware_compatibility_level: int | None = None

    def set_flag(self, flag: int) -> None:
        self.flags.append(flag)

    def set_preview_feature(self, feature: int, enable: bool) -> None:
        self.features.append((feature, enable))


@dataclass
class NetworkLayer:
    """Notes in which type it is held."""

    name: str
    type: int
    dtype: int
    precision: int | None = None
    output: int | None = None

    def get_output(self, index: int) -> Any:
        assert index == 0
        return SimpleNamespace(dtype=self.dtype)

    def set_output_type(self, index: int, dtype: int) -> None:
        assert index == 0
        self.output = dtype


@pytest.mark.parametrize(
    ("name", "kind", "dtype", "held"),
    [
        ("x.pixels.scaled", "ELEMENTWISE", "FLOAT", "FLOAT"),
        ("x.pixels.joined", "CONCATENATION", "FLOAT", "FLOAT"),
        ("x.pixels.half.joined", "CONCATENATION", "FLOAT", "HALF"),
        # FP16 leads to the same codes, a place in a table is no float, and all else is free.
        ("x.pixels.half.scaled", "ELEMENTWISE", "FLOAT", None),
        ("x.pixels.place", "ELEMENTWISE", "INT32", None),
        ("x.pixels.table", "GATHER", "FLOAT", None),
        ("y.pixels.scaled", "ELEMENTWISE", "FLOAT", None),
        ("x.scaled", "ELEMENTWISE", "FLOAT", None),
    ],
)
def test_what_becomes_of_bytes_is_held_to_its_type(
    name: str, kind: str, dtype: str, held: str | None
) -> None:
    trt, config = module("8.6.0"), Config()
    layer = NetworkLayer(name, getattr(trt.LayerType, kind), getattr(trt.DataType, dtype))
    network = SimpleNamespace(num_layers=1, get_layer=lambda index: [layer][index])
    versions.keep_codes(trt, config, network, ["x"])
    wanted = None if held is None else getattr(trt.DataType, held)
    assert (layer.precision, layer.output) == (wanted, wanted)
    obeyed = [] if held is None else [trt.BuilderFlag.OBEY_PRECISION_CONSTRAINTS]
    assert config.flags == obeyed


@pytest.mark.parametrize("version", VERSIONS)
def test_precision_and_network_flags(version: str) -> None:
    trt, config = module(version), Config()
    names = versions.set_precision(trt, config)
    flags = versions.network_flags(trt)
    if version in UP_TO_10:
        assert names == ("INT8", "FP16")
        assert config.flags == [trt.BuilderFlag.INT8, trt.BuilderFlag.FP16]
        assert flags == 1 << trt.NetworkDefinitionCreationFlag.EXPLICIT_BATCH
    else:
        assert (names, config.flags, flags) == (None, [], 0)


@pytest.mark.parametrize("version", VERSIONS)
def test_strongly_typed_networks(version: str) -> None:
    trt, config = module(version), Config()
    if version == "8.6.0":
        with pytest.raises(MissingError, match="no strongly typed networks"):
            versions.network_flags(trt, strongly_typed=True)
        return
    flags = versions.network_flags(trt, strongly_typed=True)
    assert flags & 1 << trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED
    assert versions.set_precision(trt, config, strongly_typed=True) is None
    assert config.flags == []


@pytest.mark.parametrize("version", VERSIONS)
def test_float_engines_to_compare_with(version: str) -> None:
    trt, config = module(version), Config()
    allowed = versions.set_precision(trt, config, "fp32")
    assert allowed == (() if version in UP_TO_10 else None)
    if version in UP_TO_10:
        assert versions.set_precision(trt, config, "fp16") == ("FP16",)
        return
    # It would build FP32, and call it FP16.
    name = "TensorRT for RTX 1.7" if version == RTX else "TensorRT 11"
    with pytest.raises(MissingError, match=f"^{name}.* no FP16 engine from an FP32 graph"):
        versions.set_precision(trt, config, "fp16")


@pytest.mark.parametrize("version", VERSIONS)
def test_profile_sharing(version: str) -> None:
    trt, config = module(version), Config()
    versions.share_profile(trt, config)
    expected = [(trt.PreviewFeature.PROFILE_SHARING_0806, True)] if version in UP_TO_10 else []
    assert config.features == expected


@pytest.mark.parametrize("version", VERSIONS)
def test_hardware_and_version_compatibility(version: str) -> None:
    trt, config = module(version), Config()
    versions.set_version_compatible(trt, config)
    assert config.flags == [trt.BuilderFlag.VERSION_COMPATIBLE]
    versions.set_version_compatible(trt, config, embed=False)
    assert config.flags[1:] == [
        trt.BuilderFlag.VERSION_COMPATIBLE,
        trt.BuilderFlag.EXCLUDE_LEAN_RUNTIME,
    ]
    levels = trt.HardwareCompatibilityLevel
    for level, member in [("none", None), ("ampere+", levels.AMPERE_PLUS)]:
        versions.set_hardware_compatibility(trt, config, level)
        assert config.hardware_compatibility_level == member
    if version in ("8.6.0", "10.3.0"):
        with pytest.raises(MissingError, match=f"TensorRT {version} has no .* 'same-cc'"):
            versions.set_hardware_compatibility(trt, config, "same-cc")
    else:
        versions.set_hardware_compatibility(trt, config, "same-cc")
        assert config.hardware_compatibility_level == levels.SAME_COMPUTE_CAPABILITY
    with pytest.raises(UsageError, match="is no hardware compatibility level"):
        versions.set_hardware_compatibility(trt, config, "AMPERE_PLUS")


@pytest.mark.parametrize("version", VERSIONS)
def test_plans_without_weights(version: str) -> None:
    trt, config = module(version), Config()
    if version == "8.6.0":
        with pytest.raises(MissingError, match=r"8\.6\.0 builds no plans without weights"):
            versions.strip_weights(trt, config)
        assert config.flags == []
    else:
        versions.strip_weights(trt, config)
        assert config.flags == [trt.BuilderFlag.STRIP_PLAN, trt.BuilderFlag.REFIT_IDENTICAL]


@pytest.mark.parametrize("version", VERSIONS)
def test_tactic_sources(version: str) -> None:
    trt = module(version)
    sources = trt.TacticSource
    everything = (1 << len(vars(sources))) - 1
    rest = 1 << sources.EDGE_MASK_CONVOLUTIONS | 1 << sources.JIT_CONVOLUTIONS
    assert versions.tactic_sources(trt, "-cublas, -cublas-lt,-CUDNN", everything) == rest
    assert versions.tactic_sources(trt, "+jit-convolutions", 0) == 1 << sources.JIT_CONVOLUTIONS
    assert versions.tactic_sources(trt, "-jit_convolutions,+jit_convolutions", rest) == rest
    if version in UP_TO_10:
        assert versions.tactic_sources(trt, "+cublas", rest) == rest | 1 << sources.CUBLAS
    else:
        with pytest.raises(UsageError, match="'\\+cublas' is no change") as caught:
            versions.tactic_sources(trt, "+cublas", rest)
        assert "cublas" not in caught.value.remedy
    for change in ("cublas", "-", "+", "-cublass", "-cublas,*cudnn"):
        with pytest.raises(UsageError, match="is no change of tactic sources"):
            versions.tactic_sources(trt, change, everything)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("index", "at"), [(1, "node 'b' (Foo): "), (-1, ""), (9, "")])
def test_parser_errors(version: str, index: int, at: str) -> None:
    nodes = [("a", "Conv"), ("b", "Foo")]
    name, operator = nodes[index] if index == 1 else ("", "")
    known = {"desc": "No importer.\n", "node": index, "node_name": name, "node_operator": operator}
    members = API[version]["classes"]["ParserError"]
    error = SimpleNamespace(**{member: lambda m=member: known[m] for member in members})
    parser = SimpleNamespace(num_errors=1, get_error=[error].__getitem__)
    assert versions.parser_errors(parser, nodes) == [f"{at}No importer"]
