"""The command line that exports a graph again, for a TensorRT that refuses it or makes it slow.

Where the passes of ``trtqat export`` mend what is refused, the graph itself is exported. What only
the model can change is exported from the model, as far as the graph says which one it was. A graph
without Q/DQ pairs is no graph to export: ``trtqat quantize`` puts them in. Both run a graph on ONNX
Runtime: where that runs none of it, there is no command.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from trtqat.errors import GraphError
from trtqat.files import is_onnx
from trtqat.pixels import Pixels
from trtqat.plan.header import Target
from trtqat.provenance import METADATA_KEY, Provenance, read_provenance

if TYPE_CHECKING:  # whoever inspects engines alone need not have it
    import onnx_ir as ir

    from trtqat.graph.lint.finding import Finding

# Where the graph's types are all that counts. So they are for TensorRT for RTX: there the build
# says what an FP16 graph would gain, by the layers that it has made.
_STRONGLY_TYPED = ("11",)
# What TensorRT may take, and no command of ours.
_REFUSED_BY_EXPORT = ("weight-not-finite",)
# What stands for a model that the graph does not name.
_UNKNOWN_SOURCE = "model.py:factory"
_TAKES_GRAPH = ("trtqat export model.onnx", "trtqat quantize model.onnx")
_SIZES = "Give the sizes of a sample for those that the graph leaves open."
_BEHIND_PLUGIN = (
    "Make what it gives an input of the graph, lint that, and put it in front again when the graph "
    "is exported."
)
_SPEC = "SPEC names training data, as npz:train.npz."


@dataclass(frozen=True)
class ExportAgain:
    """What to type.

    Attributes:
        why: What is refused or costs time, as a sentence.
        command: The command line; empty if there is none.
        note: What to know of it, as a sentence; empty if it can be typed as it is.
        lead: What it does, as a sentence.
    """

    why: str
    command: str
    note: str = ""
    lead: str = "Export it again."

    def __str__(self) -> str:
        indented = (f"  {each}" for each in (self.command, self.note) if each)
        return "\n".join([f"{self.lead} {self.why}", *indented])


def export_again(
    path: Path, model: ir.Model, findings: Sequence[Finding], target: Target
) -> ExportAgain | None:
    """Finds out what to export again for one TensorRT, and how.

    Args:
        path: The graph's file.
        model: The graph.
        findings: What lint found for that TensorRT.
        target: Which one.

    Returns:
        None if it takes the graph as it is, in the types that it runs best.
    """
    from trtqat.graph.lenses.targets import NEWEST_OPSET_OF_8_6
    from trtqat.graph.lint.targets import TARGET_NAMES
    from trtqat.graph.passes.lower_opset import LOWERABLE_OPSET

    refused = {each.rule: each for each in findings if each.targets.get(target) == "refused"}
    takes_codes = _takes_codes(model)
    has_pairs = _has_pairs(model)
    wants_half = target in _STRONGLY_TYPED and has_pairs and not _has_half_scales(model)
    if not refused and not wants_half:
        return None
    is_lowerable = target == "8.6" and model.graph.opset_imports.get("") == LOWERABLE_OPSET
    in_model = [
        rule
        for rule, finding in refused.items()
        if not _is_mended(finding) and not (rule == "opset-not-read" and is_lowerable)
    ]
    in_model += dict.fromkeys(each.rule for each in findings if each.rule in _REFUSED_BY_EXPORT)
    options = ["--precision", "fp16", "--opset", "19"] if target in _STRONGLY_TYPED else []
    if target == "8.6":
        options = ["--opset", str(NEWEST_OPSET_OF_8_6)]
    why = [f"{TARGET_NAMES[target]} refuses it: {', '.join(refused)}."] if refused else []
    if wants_half:
        why.append(
            f"{TARGET_NAMES[target]} takes every type from the graph, so what is not INT8 runs in "
            "FP32."
        )
    obstacle = _obstacle(model)
    if obstacle:
        verb = "exports it again" if has_pairs else "quantizes it"
        return ExportAgain(" ".join(why), "", obstacle, f"No command {verb} as it is.")
    output = path.with_name(f"{path.stem}-{target}.onnx")
    if not has_pairs:
        words = ["trtqat", "quantize", str(path), "--data", "SPEC", "--for", target]
        return ExportAgain(
            " ".join(why),
            shlex.join([*words, "-o", str(output)]),
            f"Change first what {', '.join(in_model)} names. {_SPEC}" if in_model else _SPEC,
            "Quantize it: it has no Q/DQ pairs.",
        )
    # Passes read FP32 graphs, and inputs that are codes cannot be FP16.
    if not in_model and not _has_half_scales(model) and not (takes_codes and wants_half):
        opened = list(_open_inputs(model))
        words = ["trtqat", "export", str(path), *opened, *options, "-o", str(output)]
        return ExportAgain(" ".join(why), shlex.join(words), _SIZES if opened else "")
    words, note = _from_model(model)
    note = f"Change first what {', '.join(in_model)} names. {note}" if in_model else note
    command = shlex.join([*words, *options, "-o", str(output)])
    return ExportAgain(" ".join(why), command, note)


def _obstacle(model: ir.Model) -> str:
    """Why no command takes a graph, and the way out; empty if nothing stands in the way."""
    from trtqat.graph.lenses.targets import CUT, not_taken
    from trtqat.graph.runnable import runnable

    problem = not_taken(model.graph)
    if problem:
        return f"{problem} {CUT}, and lint what is left."
    try:
        runnable(model)
    except GraphError as error:
        return f"{error.problem} {_BEHIND_PLUGIN}"
    return ""


def _is_mended(finding: Finding) -> bool:
    """Whether an export of the graph itself does it, or quantizing it: the rule says so."""
    said = f"{finding.remedy} {finding.example}"
    return bool(finding.repair) or any(command in said for command in _TAKES_GRAPH)


def _from_model(model: ir.Model) -> tuple[list[str], str]:
    """The export of the model that a graph was made of, and what its user has to fill in."""
    found = read_provenance(model.metadata_props.get(METADATA_KEY, "{}"))
    is_known = found.source is not None and not is_onnx(found.source)
    words = ["trtqat", "export", found.source or "" if is_known else _UNKNOWN_SOURCE]
    note = (
        "The graph names these files without their directories."
        if is_known
        else "The graph does not say which model it was made of."
    )
    return [*words, *_arguments(found if is_known else Provenance()), *_inputs(model)], note


def _arguments(found: Provenance) -> Iterator[str]:
    if found.checkpoint:
        yield from ("--checkpoint", found.checkpoint)
    if found.ema is not None:
        yield "--ema" if found.ema else "--no-ema"
    for name, value in (found.factory_args or {}).items():
        yield from ("--factory-arg", f"{name}={value}")


def _inputs(model: ir.Model) -> Iterator[str]:
    """``--input`` for each input; a dimension that is open keeps its name, to be filled in."""
    codes = _takes_codes(model)
    pixels = read_provenance(model.metadata_props.get(METADATA_KEY, "{}")).pixels or {}
    has_fixed_batch = False
    for value in model.graph.inputs:
        if value.shape is None or value.name is None:
            continue
        first, *others = _sizes(value.shape) or [1]
        has_fixed_batch |= isinstance(first, int)
        if value.name in pixels and len(others) == 3 and pixels[value.name].layout == "nhwc":
            others = [others[2], *others[:2]]
        dims = "x".join(map(str, [first if isinstance(first, int) else 1, *others]))
        is_float = value.name in codes or value.name in pixels
        dtype = "" if value.dtype is None or is_float else value.dtype.name.lower()
        kind = "" if dtype in ("", "float", "float16") else f":{dtype}"
        yield from ("--input", f"{value.name}:{dims}{kind}")
    if has_fixed_batch:
        yield "--static-batch"
    yield from _pixels(pixels)


def _open_inputs(model: ir.Model) -> Iterator[str]:
    """``--input`` for each input with open dimensions besides the batch, which the graph lacks."""
    for value in model.graph.inputs:
        sizes = [1, "SHAPE"] if value.shape is None else _sizes(value.shape)
        if any(isinstance(each, str) for each in sizes[1:]):
            yield from ("--input", f"{value.name}:{'x'.join(map(str, [1, *sizes[1:]]))}")


def _sizes(shape: ir.Shape) -> list[int | str]:
    """Dimensions; an open one is its name, or its place where it has none."""
    return [
        each if isinstance(each, int) else each.value or f"DIM{at}" for at, each in enumerate(shape)
    ]


def _pixels(pixels: Mapping[str, Pixels]) -> Iterator[str]:
    """What the bytes of each input mean; scale and order of channels are those of all."""
    for name, each in pixels.items():
        yield from ("--pixels", f"{name}:{each.layout}")
        # With the sign of a mean below zero it would be read as an option.
        yield f"--mean={','.join(map(repr, each.mean))}"
        yield f"--std={','.join(map(repr, each.std))}"
    for each in list(pixels.values())[:1]:
        if each.scale != Pixels.scale:
            yield f"--scale={each.scale!r}"
        if each.bgr:
            yield "--bgr"


def _takes_codes(model: ir.Model) -> frozenset[str]:
    from trtqat.graph.passes.take_codes import recorded_scales

    return frozenset(recorded_scales(model))


def _has_pairs(model: ir.Model) -> bool:
    from trtqat.graph.lenses.pairs import PAIR

    return any(node.op_type in PAIR for node in model.graph.all_nodes())


def _has_half_scales(model: ir.Model) -> bool:
    import onnx_ir as ir

    from trtqat.graph.lenses.pairs import DEQUANTIZE

    scales = (node.inputs[1] for node in model.graph.all_nodes() if node.op_type == DEQUANTIZE)
    return any(scale is not None and scale.dtype == ir.DataType.FLOAT16 for scale in scales)
