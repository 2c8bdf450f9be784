"""``trtqat.export``: whatever holds a quantized model becomes an ONNX file with explicit Q/DQ."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from trtqat.checks import check_kind
from trtqat.errors import UsageError
from trtqat.exporting.source import ModelSource
from trtqat.extras import require
from trtqat.files import check_not_overwritten, check_writable, is_onnx
from trtqat.graph.lenses.targets import HALF_OPSET, NEWEST_OPSET_OF_8_6
from trtqat.graph_file.garbage import uncollected
from trtqat.pixels import Pixels, parse_pixels
from trtqat.tensors import Precision, TensorSpec, parse_tensor_spec

if TYPE_CHECKING:
    import torch

    from trtqat.exporting.options import Exporter, ExportOptions, ExportResult
    from trtqat.plan.header import Target

# One number, one for each channel, or a list of texts or numbers for each input.
_Numbers: TypeAlias = str | float | Sequence[str | float | Sequence[float]]

_FROM_GRAPH = ("onnx", "onnx_ir", "onnxruntime")
_FROM_MODEL = (*_FROM_GRAPH, "torch", "onnxscript")


def export(
    source: str | Path | ModelSource | torch.nn.Module,
    output: str | Path,
    *,
    checkpoint: str | Path | None = None,
    factory_args: Mapping[str, Any] | Sequence[str] = (),
    ema: bool | None = None,
    inputs: Sequence[str | TensorSpec] = (),
    opset: int | None = None,
    exporter: Exporter = "auto",
    static_batch: bool = False,
    dynamic: Sequence[str] | Mapping[str, Sequence[int]] = (),
    fold_batch_norm: bool = True,
    int8_weights: bool | None = None,
    repair: bool = False,
    precision: Precision = "fp32",
    quantized_input: bool = False,
    pixels: Sequence[str] | Mapping[str, Pixels] = (),
    mean: _Numbers = (),
    std: _Numbers = (),
    scale: float | Sequence[float] = 255.0,
    bgr: bool = False,
    for_: Target | None = None,
    min_sqnr_db: float = 20.0,
    data: str | None = None,
    seed: int = 0,
) -> ExportResult:
    """Exports a fake-quantized model as ONNX with explicit Q/DQ, verified on ONNX Runtime.

    Args:
        source: ``"pkg.module:factory"``, ``"file.py:factory"``, a TorchScript file, a
            ``torch.export`` program (``.pt2``), an ONNX file with Q/DQ, or the PyTorch model.
        output: The ONNX file to write.
        checkpoint: State dict for the factory's model.
        factory_args: Arguments of the factory, by name or as strings ``NAME=VALUE``.
        ema: Whether to take averaged or raw weights of a checkpoint that has both.
        inputs: One for each input of ``forward``, as ``"images:1x3x224x224"``, with
            ``":int64"`` behind it where the dtype is not float32, or as a ``TensorSpec``. The
            first dimension is dynamic. An ONNX file needs them only for other open dimensions.
        opset: ONNX opset; if None 17, the newest that TensorRT 8.6 reads, or 19 for ``fp16``.
        exporter: Which of PyTorch's exporters.
        static_batch: Fixes the batch to the first dimension of ``inputs``.
        dynamic: Dimensions besides the batch that stay open, as ``["images:2,3"]`` or
            ``{"images": (2, 3)}``. The graph is verified at the size that ``inputs`` give and at
            others, which are as often divisible by two.
        fold_batch_norm: Whether BatchNorms are folded into quantized layers; no code changes.
        int8_weights: True for weights as INT8 initializers, False for float ones; None for INT8
            where every TensorRT that reads the opset takes it.
        repair: Whether Q/DQ placement is repaired where no output bit changes.
        precision: Type of what is not quantized; ``fp16`` for strongly typed TensorRT.
        quantized_input: Whether inputs arrive as INT8 codes.
        pixels: Inputs that arrive as bytes of images, as ``"images:nhwc"`` or ``"images:nchw"``,
            which the graph normalises: ``(byte / scale - mean) / std``. Or ``Pixels`` by name.
        mean: Of the pixels: one number, one for each channel in the model's order, or as text
            ``"0.485,0.456,0.406"``. Of several inputs a list with one such text for each.
        std: The same.
        scale: What a byte is divided by first; of several inputs a list with one for each.
        bgr: Whether the bytes of a pixel are blue, green, red, and the model takes red first.
        for_: The TensorRT that the graph is for, which decides how bytes are normalised; None for
            each that reads its opset.
        min_sqnr_db: Agreement of graph and model end to end, below which every layer must agree
            by itself.
        data: What the graph is verified with and FP16 ranges are measured on, as
            ``"npz:test.npz"``; random numbers if None.
        seed: For random numbers.

    Returns:
        What was written, and how well it agrees with the source.

    Raises:
        UsageError: An argument is wrong, does not belong to this kind of source, or the output
            cannot be written.
        SourceError: The model cannot be loaded, the inputs do not fit it, or it has no active
            quantizer.
        DataError: The data is missing or damaged, or does not fit the inputs.
        QuantizerError: A quantizer has no exact Q/DQ equivalent.
        GraphError: The ONNX file cannot be read, or has no Q/DQ.
        ExportError: The model cannot be traced, or the graph does not compute the same.
        MissingError: A package that this needs is not installed.
    """
    check_kind("The output", output, (str, os.PathLike), "'model.onnx'")
    graph = source if isinstance(source, (str, os.PathLike)) and is_onnx(source) else None
    with uncollected():
        # They make a million objects that stay.
        for module in _FROM_MODEL if graph is None else _FROM_GRAPH:
            require(module, extra="export", purpose="Exporting a model")
        from trtqat.exporting.open_dimensions import parse_dynamic
        from trtqat.exporting.options import ExportOptions
        from trtqat.graph.passes.improvements import ImproveOptions

    if graph is not None and dynamic:
        raise UsageError(
            f"'{graph}' is an ONNX file; its dimensions are as open as it says.",
            "Leave out --dynamic, or export its PyTorch model with it.",
        )
    options = ExportOptions(
        inputs=_specs(inputs),
        opset=_opset(precision) if opset is None else opset,
        exporter=exporter,
        static_batch=static_batch,
        dynamic=parse_dynamic(dynamic),
        improve=ImproveOptions(fold_batch_norm, int8_weights, repair),
        precision=precision,
        quantized_input=quantized_input,
        pixels=_pixels(pixels, mean, std, scale, bgr=bgr),
        for_=for_,
        min_sqnr_db=min_sqnr_db,
        data=data,
        seed=seed,
    )
    has_arguments = checkpoint is not None or bool(factory_args) or ema is not None
    if graph is not None:
        return _export_graph(graph, output, options, has_arguments=has_arguments)
    if isinstance(source, (str, os.PathLike)):
        source = ModelSource(source, checkpoint, factory_args, ema)
    elif has_arguments:
        raise UsageError(
            "A model that is there already takes no checkpoint and no arguments.",
            "Leave them out, or give its factory as 'file.py:factory'.",
        )
    return _export_model(source, output, options)


def _opset(precision: Precision) -> int:
    return HALF_OPSET if precision == "fp16" else NEWEST_OPSET_OF_8_6


def _specs(inputs: Sequence[str | TensorSpec]) -> tuple[TensorSpec, ...]:
    check_kind("inputs", inputs, (tuple, list), "['images:1x3x224x224']")
    return tuple(parse_tensor_spec(each) if isinstance(each, str) else each for each in inputs)


def _pixels(
    named: Sequence[str] | Mapping[str, Pixels],
    mean: _Numbers,
    std: _Numbers,
    scale: float | Sequence[float],
    *,
    bgr: bool,
) -> dict[str, Pixels]:
    if isinstance(named, Mapping):
        if len(_listed(mean)) + len(_listed(std)) or bgr or scale != 255:
            raise UsageError(
                "pixels says by itself what bytes mean, and mean, std, scale or bgr say it, too.",
                "Leave these out, and give pixels={'images': trtqat.Pixels('nhwc', mean, std)}; or "
                "give them with pixels=['images:nhwc'].",
            )
        return dict(named)
    check_kind("pixels", named, (tuple, list), "['images:nhwc']")
    return parse_pixels(named, _listed(mean), _listed(std), scale=scale, bgr=bgr)


def _listed(numbers: _Numbers) -> list[str | float | Sequence[float]]:
    """One for each input: a number, a text, or numbers alone are of all of them."""
    if isinstance(numbers, (int, float, str)):
        return [numbers]
    check_kind("mean and std", numbers, (tuple, list), "(0.485, 0.456, 0.406)")
    if numbers and all(isinstance(each, (int, float)) for each in numbers):
        return [[float(each) for each in numbers if isinstance(each, (int, float))]]
    return list(numbers)


def _export_graph(
    source: str | Path, output: str | Path, options: ExportOptions, *, has_arguments: bool
) -> ExportResult:
    if has_arguments:
        raise UsageError(
            f"'{source}' is an ONNX file; it brings its weights and takes no arguments.",
            "Leave out --checkpoint, --ema and --factory-arg.",
        )
    if options.static_batch or options.exporter != "auto":
        raise UsageError(
            f"'{source}' is an ONNX file; its batch stays as it is, and nothing is traced.",
            "Leave out --static-batch and --exporter.",
        )
    from trtqat.exporting.from_onnx import improve_onnx

    return improve_onnx(source, output, options)


def _export_model(
    source: ModelSource | torch.nn.Module, output: str | Path, options: ExportOptions
) -> ExportResult:
    import torch

    from trtqat.exporting.loading import load_model
    from trtqat.exporting.pipeline import export_onnx

    if isinstance(source, ModelSource):
        _check_not_overwritten(source, Path(output))
        return export_onnx(load_model(source), output, options, provenance=source.describe())
    check_kind("The source", source, torch.nn.Module, "'file.py:factory', or a torch.nn.Module")
    return export_onnx(source, output, options)


def _check_not_overwritten(source: ModelSource, output: Path) -> None:
    """Refuses names that no file can have, and to write over what the model comes from."""
    check_writable(output)
    pointer = str(source.pointer)
    check_not_overwritten(output, (pointer, pointer.rpartition(":")[0], source.checkpoint))
