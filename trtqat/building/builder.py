"""``build``: from an ONNX file with Q/DQ to a plan and its manifest, by TensorRT's builder."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trtqat.building.agreement import warn_of_wrong_outputs
from trtqat.building.library import load_builder
from trtqat.building.made_plan import make_plan
from trtqat.building.network import library_of_module, parse_network
from trtqat.building.options import BuildOptions
from trtqat.building.parsing import BuildKeywords, parse_options
from trtqat.building.plan_files import check_kept, write_manifest, write_plan
from trtqat.building.profiles import resolve_profiles
from trtqat.building.proof import Proof, prove_by_inspector
from trtqat.building.rtx import check_options, is_rtx
from trtqat.building.source_graph import read_source_graph
from trtqat.building.triton.repository import TritonModel, check_repository, write_repository
from trtqat.building.tuned_options import (
    TunedOptions,
    check_graph,
    read_tuned,
    warn_of_other_host,
    with_keywords,
)
from trtqat.building.wide_profile import warn_of_wide_profile
from trtqat.checks import check_kind
from trtqat.errors import TrtqatError, UsageError
from trtqat.files import check_not_overwritten, check_writable, write_atomically
from trtqat.host.gpu import describe_gpu
from trtqat.host.plugins import read_plugins
from trtqat.host.tensorrt_library import open_device
from trtqat.plan.coverage import Coverage
from trtqat.plan.header import LIBRARY_NAMES
from trtqat.plan.manifest import Manifest, manifest_path
from trtqat.plan.signature import make_signature, read_private_key

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from typing_extensions import Unpack

    from trtqat.building.agreement import Agreement

# There is one logger for each TensorRT, and what it logs must be of one build alone.
_ONE_BUILD = threading.Lock()


@dataclass(frozen=True)
class BuildResult:
    """What was written, and what of it runs in INT8.

    Attributes:
        path: The plan.
        graph: What it was built from.
        manifest: What stands in the file beside it.
        qdq_pairs: Number of Q/DQ pairs in the graph.
        warnings: What TensorRT warned of.
        served: What was written for Triton, if that was asked for.
        proof: Which layers run in INT8, or why that is not known; None if nobody asked.
    """

    path: Path
    graph: Path
    manifest: Manifest
    qdq_pairs: int
    warnings: tuple[str, ...]
    served: TritonModel | None = None
    proof: Proof | None = None

    @property
    def coverage(self) -> Coverage | None:
        """How the engine runs the layers of the graph; None if that is not known."""
        return None if self.proof is None else self.proof.coverage

    @property
    def coverage_error(self) -> TrtqatError | None:
        """Why that is not known; None if it is, or if nobody asks for INT8."""
        return None if self.proof is None else self.proof.error

    @property
    def agreement(self) -> Agreement | None:
        """The engine beside its graph, on random samples; None if it was not run."""
        return None if self.proof is None else self.proof.agreement

    @property
    def layers(self) -> Mapping[str, Any] | None:
        """The engine's layers, as TensorRT's inspector writes them; None if they are not known."""
        return None if self.proof is None else self.proof.layers

    def check_int8(self) -> None:
        """The gate ``--require-int8``.

        Raises:
            UsageError: It is no INT8 engine.
            GateError: A quantized layer is not seen in INT8, or there is none.
            TrtqatError: What runs in INT8 is not known: ``coverage_error``.
        """
        if self.coverage_error is not None:
            raise self.coverage_error
        if self.coverage is None:
            raise UsageError(
                f"'{self.path}' was built without INT8, so no layer can be seen in it.",
                "Build it with precision='int8'.",
            )
        self.coverage.check_int8(self.graph)

    def write_layers(self, path: Path | str) -> None:
        """Writes the layers as TensorRT's inspector and ``trtexec --exportLayerInfo`` do.

        Args:
            path: The JSON file.

        Raises:
            UsageError: The file cannot be written, or the engine was built without INT8.
            TrtqatError: The layers are not known: ``coverage_error``.
        """
        if self.layers is None:
            raise self.coverage_error or UsageError(
                f"'{self.path}' was built without INT8, so its layers were not asked for.",
                "Build it with precision='int8'.",
            )
        write_atomically(Path(path), json.dumps(self.layers, indent=1).encode())

    def to_dict(self) -> dict[str, Any]:
        """The same as plain data, as ``--json`` writes it."""
        return {
            "path": self.path,
            "manifest": asdict(self.manifest),
            "qdq_pairs": self.qdq_pairs,
            "warnings": self.warnings,
            "served": None if self.served is None else asdict(self.served),
            "coverage": None if self.coverage is None else self.coverage.to_dict(),
            "agreement": None if self.agreement is None else self.agreement.to_dict(),
        }

    def __repr__(self) -> str:
        return (
            f"BuildResult('{self.path}', {self.qdq_pairs} Q/DQ pairs, "
            f"{len(self.warnings)} warnings)"
        )


def build(
    graph: Path | str,
    plan: Path | str,
    options: BuildOptions | Path | str | None = None,
    **keywords: Unpack[BuildKeywords],
) -> BuildResult:
    """Builds an INT8 engine and asks which layers run in INT8, or a float one to compare it with.

    An engine of TensorRT runs once beside its graph on ONNX Runtime, where that is installed, on
    random samples: a wrong one is a warning, and ``agreement`` has the figures.

    Plan, manifest and what Triton gets are written before the engine is asked. Where it does not
    answer, they stay: the log says why, and so does ``coverage_error``.

    Example: ``build("model.onnx", "model.engine", batch="1:32:128").check_int8()``

    Args:
        graph: ONNX file with explicit Q/DQ; without for another precision than INT8.
        plan: The file to write; its manifest goes beside it.
        options: How to build it, or else keywords say so; or the file that ``trtqat tune`` wrote
            with the graph, over which keywords win.
        **keywords: The options of ``trtqat build``, as ``BuildKeywords`` lists them.

    Raises:
        GraphError: The file is not ONNX, or has no Q/DQ.
        UsageError: An option has a wrong form, the shapes do not fit, the key is none, the plan
            cannot be written, Triton cannot serve such an engine, or the file of options is none
            or another graph's.
        BuildError: TensorRT refuses the graph, finds no implementation, or cannot load its plan.
        MissingError: There is no TensorRT or no GPU, or this TensorRT lacks an option.
    """
    check_kind("The graph", graph, (str, os.PathLike), "'model.onnx'")
    check_kind("The plan", plan, (str, os.PathLike), "'model.engine'")
    graph, plan = Path(graph), Path(plan)
    tuned = None
    if isinstance(options, (str, os.PathLike)):
        tuned, options = _tuned_options(graph, plan, Path(options), keywords)
    elif options is None:
        options = parse_options(plan, **keywords)
    elif keywords:
        raise UsageError(
            f"A build got options, and {next(iter(keywords))} besides.",
            "Give BuildOptions alone, or keywords alone.",
        )
    check_kind("The options of a build", options, BuildOptions, "BuildOptions()")
    key = _read_key(options)
    built = _build(graph, plan, options, key)
    # A float engine to compare with is not asked; one that stands for a tuned graph is.
    is_asked = options.precision == "int8" or tuned is not None
    if not is_asked or built.proof is not None:
        return built
    weights = built.graph if options.strip_weights else None
    proof = prove_by_inspector(
        built.path, built.graph, weights, built.manifest, plugins=options.plugins
    )
    warn_of_wrong_outputs(built.path, proof.agreement)
    if tuned is None:
        # What was measured is known better.
        warn_of_wide_profile(built.path, built.manifest, proof)
    manifest = replace(built.manifest, coverage=proof.coverage)
    if proof.coverage is not None:
        # The plans stay as they are; what any host may ask for stands beside them now.
        signature = _sign(manifest, key)
        write_manifest(built.path, manifest, signature)
        if built.served is not None:
            write_manifest(built.served.plan, manifest, signature)
    return replace(built, manifest=manifest, proof=proof)


def _tuned_options(
    graph: Path, plan: Path, path: Path, keywords: Mapping[str, Any]
) -> tuple[TunedOptions, BuildOptions]:
    """The options of a file, with the keywords that win over it."""
    # A plan without a suffix has its manifest there: "tuned" and "tuned.json".
    check_not_overwritten(manifest_path(plan), [path])
    tuned = read_tuned(path)
    check_graph(tuned, path, graph)
    trt = load_builder(parse_options(plan, **keywords).for_)
    for_rtx = is_rtx(trt)
    options = parse_options(plan, **with_keywords(tuned, path, keywords, for_rtx=for_rtx))
    gpu = "" if for_rtx else _gpu_name()
    builder = f"{LIBRARY_NAMES[library_of_module(trt)]} {trt.__version__}"
    warn_of_other_host(tuned, path, gpu=gpu, builder=builder)
    # Named, so that it is not said again which one builds.
    for_ = "rtx" if for_rtx else options.for_
    return tuned, replace(options, precision=tuned.precision, for_=for_)


def _gpu_name() -> str:
    open_device("Building an engine")
    return describe_gpu().name


def build_plan(graph: Path | str, plan: Path | str, options: BuildOptions) -> BuildResult:
    """Builds an engine, without asking TensorRT's inspector which layers run in INT8.

    TensorRT for RTX tells its layers when it builds, so they are known here. A plan of TensorRT
    is loaded once.

    Args:
        graph: ONNX file with explicit Q/DQ; without for another precision than INT8.
        plan: The file to write; its manifest goes beside it.
        options: How to build it.

    Returns:
        What was written; with its coverage where the builder has told its layers.

    Raises:
        GraphError: The file is not ONNX, or has no Q/DQ.
        UsageError: The shapes do not fit, the key is none, the plan cannot be written, or Triton
            cannot serve such an engine.
        BuildError: TensorRT refuses the graph, finds no implementation, or cannot load its plan.
        MissingError: There is no TensorRT or no GPU, or this TensorRT lacks an option.
    """
    return _build(Path(graph), Path(plan), options, _read_key(options))


def _build(
    graph: Path, plan: Path, options: BuildOptions, key: Ed25519PrivateKey | None
) -> BuildResult:
    check_writable(plan)
    source = read_source_graph(graph, quantized=options.precision == "int8")
    check_kept(plan, (graph, *source.weights, options.sign, *options.plugins))
    trt = load_builder(options.for_)
    check_options(trt, options)
    if not is_rtx(trt):
        open_device("Building an engine")
    triton = options.triton
    plugins = read_plugins(options.plugins)
    with _ONE_BUILD:
        network = parse_network(trt, source, plugins)
        profiles = resolve_profiles(network.inputs, options.profile)
        if triton is not None:
            shapes = network.inputs, network.outputs, profiles[0]
            check_repository(triton.repository, *shapes, triton.options, more_profiles=profiles[1:])
        made = make_plan(network, profiles, options, plugins)
    manifest = made.manifest
    signature = _sign(manifest, key)
    write_plan(plan, made.content, manifest, signature)
    served = None
    if triton is not None:
        served = write_repository(
            triton.repository, made.content, manifest, triton.options, signature=signature
        )
    warnings = tuple(network.messages.warnings)
    return BuildResult(plan, graph, manifest, source.qdq_pairs, warnings, served, made.proof)


def _read_key(options: BuildOptions) -> Ed25519PrivateKey | None:
    """The key to sign with, read once and before all work: it may be gone at the end."""
    return None if options.sign is None else read_private_key(Path(options.sign))


def _sign(manifest: Manifest, key: Ed25519PrivateKey | None) -> bytes | None:
    return None if key is None else make_signature(manifest.to_json().encode(), key)
