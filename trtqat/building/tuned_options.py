"""``tuned.json``: how the plan of a tuned graph is built, for ``trtqat build --options``.

``trtqat tune`` writes it beside the graph, and beside both the timing cache of its builds: with it
a build takes the kernels that were measured.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from trtqat.building.parsing import parse_bytes, parse_profiles
from trtqat.errors import UsageError
from trtqat.files import is_file, read_input, why_unreadable
from trtqat.graph_file.hashing import graph_sha256
from trtqat.typed_json import as_fields, json_text, parse_json, read_as, schema_version_of

_LOG = logging.getLogger(__name__)

# The newest that is read; options without shapes are written as schema 1.
SCHEMA_VERSION = 2
_FIRST_WITH_SHAPES = 2
_MOST_BYTES = 1 << 20
_SHA256 = re.compile("[0-9a-f]{64}")
_MOST_LEVEL = 5
_SHAPES = ("shapes", "min_shapes", "opt_shapes", "max_shapes")
# Keyword of a build → as the command line spells it.
_SPELLED = {
    "batch": "--batch",
    "workspace": "--workspace",
    "optimization_level": "--builder-optimization-level",
    "tactic_sources": "--tactic-sources",
}
_FP16 = {True: "--fp16", False: "--no-fp16"}
# What TensorRT for RTX refuses, as it neither times nor chooses kernels, and takes a graph's types.
_NOT_OF_RTX = ("tactic_sources", "fp16")


@dataclass(frozen=True)
class TunedOptions:
    """The build options that go with a graph, and where they were found.

    Attributes:
        graph: Name of the ONNX file.
        graph_sha256: Of it.
        gpu: Name of the GPU on which it was tuned.
        tensorrt: Version of the TensorRT that built there.
        trtqat: Version that wrote this.
        precision: ``int8``, or ``fp16`` of a graph without Q/DQ, whose engine has no INT8 layer.
        batches: As ``--batch`` takes them, each of a profile; empty of a graph with a fixed batch,
            and where there are shapes.
        fp16: Whether layers that are not INT8 may be FP16.
        optimization_level: 0 to 5; None is TensorRT's default.
        workspace_bytes: Ceiling for scratch memory; None is TensorRT's default.
        tactic_sources: Changes as trtexec spells them.
        shapes: As ``--shapes`` takes them, each of a profile; empty unless sizes are open. Only
            schema 2 has any.
        schema_version: Of this file.
    """

    graph: str
    graph_sha256: str
    gpu: str
    tensorrt: str
    trtqat: str
    precision: Literal["int8", "fp16"]
    batches: tuple[str, ...] = ()
    fp16: bool = True
    optimization_level: int | None = None
    workspace_bytes: int | None = None
    tactic_sources: str = ""
    shapes: tuple[str, ...] = ()
    schema_version: int = 1

    def to_json(self) -> str:
        """The content of the file, without what a newer version added and is empty."""
        fields = as_fields(self)
        if not self.shapes:
            del fields["shapes"]
        return json_text(fields) + "\n"

    @property
    def keywords(self) -> dict[str, Any]:
        """What of it ``trtqat build`` takes, by keyword; None is TensorRT's default."""
        return {
            **({"shapes": list(self.shapes)} if self.shapes else {}),
            "batch": ",".join(self.batches) or None,
            "fp16": self.fp16,
            "optimization_level": self.optimization_level,
            "workspace": self.workspace_bytes,
            "tactic_sources": self.tactic_sources,
        }


def options_path(graph: Path) -> Path:
    """``tuned.onnx`` → ``tuned.json``."""
    # "." has no name, and is no graph either.
    return graph.with_suffix(".json") if graph.name else graph / "tuned.json"


def plan_path(graph: Path) -> Path:
    """The measured plan beside: ``tuned.onnx`` → ``tuned.engine``."""
    return graph.with_suffix(".engine") if graph.name else graph / "tuned.engine"


def cache_path(options: Path) -> Path:
    """The timing cache beside: ``tuned.json`` → ``tuned.cache``."""
    return options.with_suffix(".cache")


def read_tuned(path: Path) -> TunedOptions:
    """Reads what ``trtqat tune`` wrote.

    Args:
        path: The file.

    Raises:
        UsageError: It cannot be read, is of a newer schema, or a field of it is missing, of
            another type or beyond what it can be.
    """
    try:
        fields = parse_json(read_input(path, most_bytes=_MOST_BYTES))
        schema = schema_version_of(fields)
        # Reports of trtqat eval are of newer schemas, too.
        if schema > SCHEMA_VERSION and isinstance(fields, dict) and "graph_sha256" in fields:
            raise UsageError(
                f"The options '{path}' have schema {schema}; this version reads up to "
                f"{SCHEMA_VERSION}.",
                "Upgrade trtqat on this host, or leave out --options.",
            )
        found = read_as(TunedOptions, fields)
        _check_values(found)
    except OSError as error:
        raise _unreadable(path, why_unreadable(error)) from error
    except ValueError as error:
        raise _unreadable(path, str(error)) from error
    return found


def check_graph(tuned: TunedOptions, path: Path, graph: Path) -> None:
    """Refuses a graph that is not the one that was tuned.

    Args:
        tuned: The options.
        path: Their file, for the message.
        graph: What is to be built.

    Raises:
        UsageError: It is another one.
    """
    if is_file(graph) and graph_sha256(graph) != tuned.graph_sha256:
        raise UsageError(
            f"The options '{path}' are of another graph than '{graph}': the SHA-256 differs.",
            f"Give the '{tuned.graph}' that trtqat tune wrote with them, or leave out --options.",
        )


def warn_of_other_host(tuned: TunedOptions, path: Path, *, gpu: str, builder: str) -> None:
    """Warns where other kernels are to be expected than those that were measured.

    Args:
        tuned: The options.
        path: Their file, for the message.
        gpu: Name of the GPU here; empty where none is looked at.
        builder: What builds here, as ``"TensorRT 8.6.0"``.
    """
    there = f"TensorRT {tuned.tensorrt}"
    if gpu == tuned.gpu and builder == there:
        return
    found = f"The options '{path}' were found on {tuned.gpu} with {there}, and"
    if gpu:
        _LOG.warning(
            "%s here is %s with %s: something else may be the fastest. Tune here: trtqat tune",
            found,
            gpu,
            builder,
        )
    else:
        _LOG.warning(
            "%s %s builds without looking at a GPU: something else may be the fastest, which "
            "trtqat tune does not find for it.",
            found,
            builder,
        )


def with_keywords(
    tuned: TunedOptions, path: Path, given: Mapping[str, Any], *, for_rtx: bool = False
) -> dict[str, Any]:
    """The keywords of a build: those that were given, and for all others the file's.

    Args:
        tuned: The options.
        path: Their file; the timing cache beside it is taken if none was given.
        given: The keywords; what is None or empty was not given.
        for_rtx: Whether TensorRT for RTX builds, which is asked for nothing that it refuses.

    Returns:
        The keywords for ``parse_options``. What wins over the file is logged as a warning: it is
        no longer what was tuned.
    """
    wins = {name: value for name, value in given.items() if value not in (None, "", {}, [], ())}
    taken = tuned.keywords
    if for_rtx:
        taken = {name: value for name, value in taken.items() if name not in _NOT_OF_RTX}
    said = [f"--{name.replace('_', '-')}" for name in _SHAPES if name in wins]
    if tuned.shapes and not said and "batch" in wins:
        said = [f"--batch {wins['batch']}"]
    if said:
        # The profiles of the file go as a whole.
        of_file = {name: taken.pop(name) for name in ("batch", "shapes") if name in taken}
        if said != ["--shapes"] or not _is_same("shapes", wins["shapes"], of_file.get("shapes")):
            profiles = ", ".join(tuned.shapes or tuned.batches)
            _say_what_wins(" with ".join(said), profiles, path)
    for name, spelled in _SPELLED.items():
        if name in wins and name in taken and not _is_same(name, wins[name], taken[name]):
            _say_what_wins(f"{spelled} {wins[name]}", taken[name], path)
    if "fp16" in taken and wins.get("fp16", taken["fp16"]) is not taken["fp16"]:
        _say_what_wins(_FP16[wins["fp16"]], _FP16[taken["fp16"]], path)
    cache = cache_path(path)
    # TensorRT for RTX takes none, and nobody has asked for this one.
    if is_file(cache) and not for_rtx:
        taken["timing_cache"] = cache
    return {**taken, **wins}


def _is_same(name: str, given: Any, of_file: Any) -> bool:  # noqa: ANN401
    """Whether an option says what the file says, maybe in another way."""
    if of_file is None or name == "optimization_level":
        return bool(given == of_file)
    if name == "workspace":
        return bool(parse_bytes(given) == of_file)
    if name == "tactic_sources":
        return set(given.split(",")) == set(of_file.split(","))
    if name == "shapes":
        profiles = [parse_profiles(None, {}, each) for each in (given, of_file)]
    else:
        profiles = [parse_profiles(each, {}, None) for each in (given, of_file)]
    # A plan has its profiles in an order of its own.
    one, other = (sorted(map(str, (replace(each, more=()), *each.more))) for each in profiles)
    return one == other


def _say_what_wins(given: str, of_file: object, path: Path) -> None:
    default = "the default" if of_file in (None, "") else of_file
    _LOG.warning("%s wins over %s of '%s': the engine is not the tuned one.", given, default, path)


def _check_values(tuned: TunedOptions) -> None:
    """What the types do not tell.

    Raises:
        ValueError: A field is beyond what it can be.
    """
    if not _SHA256.fullmatch(tuned.graph_sha256):
        raise ValueError("'graph_sha256' is not a SHA-256")
    if tuned.schema_version < 1:
        raise ValueError("'schema_version' is not 1 or more")
    level = tuned.optimization_level
    if level is not None and not 0 <= level <= _MOST_LEVEL:
        raise ValueError(f"'optimization_level' is not 0 to {_MOST_LEVEL}")
    if tuned.workspace_bytes is not None and tuned.workspace_bytes < 1:
        raise ValueError("'workspace_bytes' is not 1 or more")
    if tuned.shapes and tuned.schema_version < _FIRST_WITH_SHAPES:
        raise ValueError("'shapes' is not empty, which it is in schema 1")
    _check_profiles("batches", list(tuned.batches) or None, ())
    _check_profiles("shapes", None, tuned.shapes)


def _check_profiles(name: str, batches: list[str] | None, shapes: tuple[str, ...]) -> None:
    try:
        parse_profiles(batches, {}, shapes)
    except UsageError as error:
        raise ValueError(f"'{name}': {error.problem.rstrip('.')}") from error


def _unreadable(path: Path, why: str) -> UsageError:
    return UsageError(
        f"'{path}' holds no options of a build: {why}.",
        "Give the .json file that trtqat tune wrote beside the graph.",
    )
