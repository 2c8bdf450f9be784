"""The FP32 model that is to be quantized, and what is refused before anything takes long."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from trtqat.data.dataset import files_of
from trtqat.errors import DataError, SourceError, TrtqatError, UsageError, first_line
from trtqat.exporting.check_model import check_float32
from trtqat.exporting.loading import load_model
from trtqat.exporting.source import ModelSource
from trtqat.files import check_not_overwritten, check_writable, is_file, is_onnx
from trtqat.pointers import is_pointer
from trtqat.quant.placing.placed import placed_quantizers
from trtqat.quant.recipe import unwrapped
from trtqat.quant.toolkits.quantizers import quantizers_of
from trtqat.runtime.pytorch_layout import channels_last, layout_that_runs
from trtqat.search.options import QuantizeOptions
from trtqat.search.running import outputs_of
from trtqat.search.samples import SpreadSamples, has_splits


def check_files(source: ModelSource, output: Path, options: QuantizeOptions) -> None:
    """Refuses what is no factory, to write over an input, and to count on training data.

    Args:
        source: Of the FP32 model.
        output: The file to write.
        options: Which data is read.

    Raises:
        SourceError: The source is no factory.
        UsageError: The output cannot be written, is an input, or is named like a graph.
        DataError: Both kinds of data are the same.
    """
    pointer = str(source.pointer)
    if is_onnx(pointer) or is_file(pointer) or not is_pointer(pointer):
        if is_onnx(pointer):
            raise SourceError(
                f"'{pointer}' is an ONNX graph, and no source of a PyTorch model.",
                "Give its name alone: trtqat.quantize_source('model.onnx', 'int8.onnx', data=…).",
            )
        raise SourceError(
            f"'{pointer}' is no factory of a PyTorch model, into which no quantizers can be put.",
            "Give the function that makes the FP32 model, file.py:factory, or an ONNX file.",
        )
    check_writable(output)
    if is_onnx(output):
        raise UsageError(
            f"The output '{output}' is named like an ONNX graph, but is a PyTorch checkpoint.",
            "Name it as int8.pt; trtqat export makes the graph of it.",
        )
    data = [each for each in (options.data, options.eval_data) if each is not None]
    read = [pointer.rpartition(":")[0], source.checkpoint]
    check_not_overwritten(output, (*read, *(file for spec in data for file in files_of(spec))))
    if options.eval_data is not None and _is_same(options.data, options.eval_data):
        raise DataError(
            f"'{options.eval_data}' is the training data that ranges are chosen on, so the "
            "accuracy on it says little.",
            "Give --eval-data samples that the model has not seen.",
        )


def _is_same(data: str, eval_data: str) -> bool:
    """Whether both name the same samples; of what has splits the one trains, the other tests."""
    kind = data.partition(":")[0]
    if data == eval_data:
        return not has_splits(data)
    if kind != "npz" or not eval_data.startswith("npz:"):
        return False
    real = {os.path.realpath(file) for spec in (data, eval_data) for file in files_of(spec)}
    return len(real) == 1


def load_float_model(source: ModelSource, options: QuantizeOptions) -> torch.nn.Module:
    """Makes the model, in eval mode, on the device that it is quantized on.

    Args:
        source: Of the FP32 model.
        options: On which device.

    Raises:
        SourceError: It cannot be made, is TorchScript, not in float32, or has quantizers already.
    """
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    model = unwrapped(load_model(source, device=device))
    if isinstance(model, torch.jit.ScriptModule):
        raise SourceError(
            f"The factory '{source.pointer}' returned a TorchScript module, into which no "
            "quantizers can be put.",
            "Return the torch.nn.Module that it was made of.",
        )
    if placed_quantizers(model):
        what = f"Checkpoint '{source.checkpoint}'" if source.checkpoint else "The factory's model"
        raise SourceError(
            f"{what} is quantized already.",
            "Give the checkpoint of the FP32 model; a quantized one goes on with trtqat.fine_tune, "
            "or to trtqat export.",
        )
    found = next(quantizers_of(model), None)
    if found is not None:
        raise SourceError(
            f"The factory '{source.pointer}' makes a model with quantizers already.",
            "Give the factory of the FP32 model, or take this one to trtqat export as it is.",
        )
    # Before the data is read: of other floats it would be called wrong.
    check_float32(model)
    # Faster on a CPU as well.
    return channels_last(model)


def check_runs(model: torch.nn.Module, chosen: SpreadSamples) -> None:
    """Runs two samples: a model that does not take them raises anything.

    Args:
        model: In eval mode, with channels last; with channels first afterwards if it runs so alone.
        chosen: Samples to choose ranges on.

    Raises:
        DataError: It raises.
    """
    first = chosen.some(2)[0]
    try:
        layout_that_runs(model, lambda _: outputs_of(model, first))
    except TrtqatError:
        raise
    except Exception as error:
        arrays = ", ".join(f"{str(x.dtype).removeprefix('torch.')} {tuple(x.shape)}" for x in first)
        raise DataError(
            f"The model raised {type(error).__name__} on the data, {arrays}: {first_line(error)}.",
            "Give data as the model was trained on it, floating point and preprocessed; or say "
            "what it takes: --input NAME:1x3x224x224.",
        ) from error
