"""PyTorch's two ONNX exporters, brought to the same result.

Both translate ``trtqat::fake_quantize`` to one node ``trtqat::FakeQuantize`` with the
attributes axis, low, high and quantizer. The TorchScript exporter does so also for the
``aten::fake_quantize_*`` operators of a traced TorchScript module (symbolics.py).
"""

from __future__ import annotations

import importlib
import logging
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import torch

from trtqat.errors import ExportError, TrtqatError, UsageError, first_line
from trtqat.exporting.decomposing import decomposed_by_node
from trtqat.exporting.frozen_values import watching_values
from trtqat.exporting.open_dimensions import Dimensions, check_batch_open, forget_other_names
from trtqat.exporting.options import Exporter
from trtqat.exporting.quiet_exporters import quiet
from trtqat.exporting.samples import Samples
from trtqat.exporting.script_outputs import is_dict_script, restore_paths, returning_values
from trtqat.exporting.symbolics import registered_symbolics
from trtqat.exporting.torchlib import unparsed_functions
from trtqat.graph.lenses.targets import NEWEST_OPSET_OF_8_6
from trtqat.graph.passes.expand_fake_quantize import DOMAIN, OP_TYPE
from trtqat.graph_file.garbage import uncollected
from trtqat.graph_file.reading import load_traced
from trtqat.quant.kept_state import buffers_kept
from trtqat.user_code import exits_told

_LOG = logging.getLogger(__name__)
# The torch.export-based exporter knows no older one.
_DYNAMO_OLDEST_OPSET = 18
# From 23 on it writes scaled_dot_product_attention as one Attention node, which hides two
# products and the softmax from the passes, and whose broadcast mask ONNX Runtime (1.32) refuses.
_DYNAMO_NEWEST_OPSET = 22
# What the TorchScript exporter writes above is young and ends at 20; raise_opset goes on from here.
_TORCHSCRIPT_NEWEST_OPSET = NEWEST_OPSET_OF_8_6


@dataclass(frozen=True)
class _Open:
    """What stays open.

    Attributes:
        batch: Whether the first dimension of every input.
        inputs: Dimensions by input.
        outputs: Dimensions by output that follow from those.
    """

    batch: bool
    inputs: Dimensions
    outputs: Dimensions


def trace(
    model: torch.nn.Module,
    samples: Samples,
    outputs: Mapping[str, bool],
    *,
    opset: int,
    dynamic_batch: bool,
    dynamic: Dimensions | None = None,
    open_outputs: Dimensions | None = None,
    exporter: Exporter = "auto",
) -> tuple[ir.Model, str]:
    """Translates a model to ONNX, with FakeQuantize nodes for its quantizers.

    Args:
        model: In eval mode, its quantizers replaced; or a ScriptModule.
        samples: Inputs by name, in the order of forward; batch of at least 2 if it is dynamic.
        outputs: Names of the flattened outputs, and whether the first dimension of each is the
            batch. The exporters write ``output_name(0)`` and so on, which no input is named.
        opset: 17 and older may come back as 18 from the torch.export-based exporter, newer ones
            as one that ``raise_opset`` goes on from.
        dynamic_batch: Whether the first dimension of every input stays open.
        dynamic: Which dimensions of inputs stay open besides.
        open_outputs: Which dimensions of outputs follow from those.
        exporter: ``auto`` is ``dynamo`` with ``torchscript`` to fall back to.

    Returns:
        The model and a sentence on which exporter made it.

    Raises:
        ExportError: No exporter could translate it.
        UsageError: The exporter asked for does not write that opset.
        QuantizerError: A TorchScript quantizer has no Q/DQ equivalent.
    """
    opened = _Open(dynamic_batch, dynamic or {}, open_outputs or {})
    script = isinstance(model, torch.jit.ScriptModule)
    if exporter == "torchscript" or (
        exporter == "auto" and (script or opset < NEWEST_OPSET_OF_8_6)
    ):
        reason = "the only one that reads TorchScript" if script else "as asked"
        if exporter == "auto" and not script:
            reason = f"the only one that writes opset {opset}"
        graph = _torchscript(model, samples, outputs, opset, opened)
        return graph, f"TorchScript exporter ({reason})"
    if script:
        raise ExportError(
            "The torch.export-based exporter cannot read a TorchScript module.",
            "Use --exporter torchscript or auto.",
        )
    if opset < NEWEST_OPSET_OF_8_6:
        raise UsageError(
            f"The torch.export-based exporter writes no opset {opset}: {NEWEST_OPSET_OF_8_6} is "
            "its oldest.",
            "Use --exporter torchscript or auto.",
        )
    try:
        graph = _dynamo(model, samples, outputs, opset, opened)
    except ExportError as error:
        if exporter == "dynamo":
            raise
        _LOG.warning("%s Falling back to the TorchScript exporter.", error.problem)
        try:
            graph = _torchscript(model, samples, outputs, opset, opened)
        except ExportError as other:
            raise ExportError(
                other.problem,
                f"{_way_out(other.problem)}. It was tried because "
                f"{error.problem[0].lower()}{error.problem[1:]}",
            ) from other
        return graph, "TorchScript exporter (the torch.export-based one failed)"
    return graph, "torch.export-based exporter"


def output_name(index: int) -> str:
    """What an output is called until ``graph.passes.name_outputs`` names it."""
    return f"trtqat/output/{index}"


def _check_outputs(graph: ir.Model, outputs: Mapping[str, bool]) -> ir.Model:
    if len(graph.graph.outputs) != len(outputs):
        raise ExportError(
            f"The exporter wrote {len(graph.graph.outputs)} outputs of the {len(outputs)} that the "
            f"model returns ({', '.join(outputs)}).",
            "Try the other --exporter, or wrap the model so that forward returns a flat tuple of "
            "tensors.",
        )
    return graph


@uncollected()
def _dynamo(
    model: torch.nn.Module,
    samples: Samples,
    outputs: Mapping[str, bool],
    opset: int,
    opened: _Open,
) -> ir.Model:
    dynamic_shapes = None
    if opened.batch or opened.inputs:
        batch: dict[int, Any] = {0: torch.export.Dim("batch")} if opened.batch else {}
        # Sizes may depend on each other, or be multiples: PyTorch finds that out.
        dynamic_shapes = tuple(
            {**batch, **dict.fromkeys(opened.inputs.get(name, ()), torch.export.Dim.DYNAMIC)}
            for name in samples
        )
    # The exporter imports it too, but makes of a Ctrl-C meanwhile an AttributeError, which would
    # look as if it could not translate the model.
    importlib.import_module("torch._dynamo")
    try:
        with (
            quiet(),
            decomposed_by_node(),
            unparsed_functions(),
            exits_told("The model's forward, while it was traced,"),
        ):
            program = torch.onnx.export(
                model,
                tuple(samples.values()),
                dynamo=True,
                verbose=False,
                opset_version=min(max(opset, _DYNAMO_OLDEST_OPSET), _DYNAMO_NEWEST_OPSET),
                input_names=list(samples),
                output_names=[output_name(index) for index in range(len(outputs))],
                dynamic_shapes=dynamic_shapes,
                custom_translation_table={
                    torch.ops.trtqat.fake_quantize.default: _onnxscript_translation()
                },
            )
    except TrtqatError:
        raise
    except Exception as error:
        raise ExportError(
            f"The torch.export-based exporter failed: {_root_cause(error)}",
            "Try --exporter torchscript.",
        ) from error
    assert program is not None
    if opened.batch:
        check_batch_open(program.model.graph)
    return _check_outputs(program.model, outputs)


def _torchscript(
    model: torch.nn.Module,
    samples: Samples,
    outputs: Mapping[str, bool],
    opset: int,
    opened: _Open,
) -> ir.Model:
    written = [output_name(index) for index in range(len(outputs))]
    batched = [name for name, has_batch in zip(written, outputs.values(), strict=True) if has_batch]
    open_axes = {name: {0: "batch"} for name in [*samples, *batched] if opened.batch}
    renamed = dict(zip(outputs, written, strict=True))
    for given, names in ((opened.inputs, {}), (opened.outputs, renamed)):
        for name, dimensions in given.items():
            axes = open_axes.setdefault(names.get(name, name), {})
            axes.update({each: f"{name}_{each}" for each in dimensions})
    opset = min(opset, _TORCHSCRIPT_NEWEST_OPSET)
    is_dict = is_dict_script(model)
    try:
        with quiet():
            exported = returning_values(model, samples) if is_dict else model
        tensors = {**dict(exported.named_parameters()), **dict(exported.named_buffers())}
        with (
            quiet(),
            registered_symbolics(opset, tensors),
            tempfile.TemporaryDirectory() as folder,
            exits_told("The model's forward, while it was traced,"),
            buffers_kept(exported) as changed,
            watching_values(len(samples)) as places,
        ):
            # A file, as the weights of a model above 2 GiB are written beside it.
            path = Path(folder) / "traced.onnx"
            torch.onnx.export(
                exported,
                tuple(samples.values()),
                str(path),
                dynamo=False,
                opset_version=opset,
                input_names=list(samples),
                output_names=written,
                dynamic_axes=open_axes or None,
                custom_opsets={DOMAIN: 1},
            )
            traced = load_traced(path)
        for place in places:
            _LOG.warning(
                "The model's forward reads values of its inputs (%s). The graph has what they were "
                "for the sample that was traced, and is right only where that stays so.",
                place,
            )
        for name in changed:
            _LOG.warning(
                "The TorchScript exporter runs forward, and the graph has what that wrote into "
                "buffer '%s'. The other exporter takes what the model holds.",
                name,
            )
    except TrtqatError:
        raise
    except Exception as error:
        problem = f"The TorchScript exporter failed: {_root_cause(error)}"
        remedy = f"{_way_out(problem)}, or try --exporter dynamo."
        if is_dict:
            remedy = "Rewrite the operation that it names; a dict is read that one literal makes."
        raise ExportError(problem, remedy) from error
    if is_dict:
        restore_paths(traced.graph)
    forget_other_names(traced, {name for axes in open_axes.values() for name in axes.values()})
    return _check_outputs(traced, outputs)


def _way_out(problem: str) -> str:
    """What to do about an operation that an exporter has no form of, without a full stop."""
    if "ONNX export of convolution for kernel of unknown shape" in problem:
        # Weights made of an input, for each sample its own: the batch is the number of groups.
        return (
            "ONNX has a number for the groups of a convolution: fix the batch by --static-batch, "
            "if they follow it"
        )
    return "Rewrite the operation that it names"


def _onnxscript_translation() -> Any:  # noqa: ANN401
    """The FakeQuantize node for the torch.export-based exporter."""
    from onnxscript import values

    define = onnx.defs.OpSchema
    schema = define(
        OP_TYPE,
        DOMAIN,
        1,
        inputs=[define.FormalParameter("x", "T"), define.FormalParameter("scale", "T")],
        outputs=[define.FormalParameter("y", "T")],
        type_constraints=[("T", ["tensor(float)"], "")],
        attributes=[
            define.Attribute("axis", define.AttrType.INT, ""),
            define.Attribute("low", define.AttrType.FLOAT, ""),
            define.Attribute("high", define.AttrType.FLOAT, ""),
            define.Attribute("quantizer", define.AttrType.STRING, ""),
        ],
    )
    operator = values.Op(values.Opset(DOMAIN, 1), OP_TYPE, schema)

    def translate(
        x: Any,  # noqa: ANN401
        scale: Any,  # noqa: ANN401
        axis: int,
        low: float,
        high: float,
        quantizer: str,
    ) -> Any:  # noqa: ANN401
        return operator(x, scale, axis=axis, low=low, high=high, quantizer=quantizer)

    return translate


def _root_cause(error: BaseException) -> str:
    """The first line of the innermost error; PyTorch wraps it in pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {first_line(error)}."
