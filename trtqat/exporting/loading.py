"""Loads a PyTorch model from a factory and a checkpoint, or from a file that holds it whole.

A quantized model comes from the factory of the FP32 model and the file with its recipe.
"""

from __future__ import annotations

import contextlib
import shlex
import warnings
import zipfile
from pathlib import Path

import torch

from trtqat.errors import SourceError, UsageError, first_line
from trtqat.exporting.checkpoint import load_state
from trtqat.exporting.program import load_program, program_module
from trtqat.exporting.source import ModelSource
from trtqat.files import is_file, is_onnx, is_plan
from trtqat.pointers import is_pointer, load_pointer
from trtqat.quant.has_values import check_has_values
from trtqat.quant.placing.placed import copied, placed_quantizers
from trtqat.quant.toolkits.silence import quiet_toolkit
from trtqat.user_code import returned, user_code


def load_model(source: ModelSource | str | Path, *, device: str = "cpu") -> torch.nn.Module:
    """Loads a model in eval mode.

    Args:
        source: Factory with an optional checkpoint, a TorchScript file or a program; a string or
            path is its pointer.
        device: Where to; the files hold constants that only loading moves.

    Returns:
        The module; a ``torch.jit.ScriptModule`` for a TorchScript file.

    Raises:
        UsageError: An argument is of another type.
        SourceError: The source is missing, raises, is no model, or does not fit the checkpoint.
        QuantizerError: A quantizer in a program is no symmetric INT8, or the factory could not
            insert or calibrate its own.
    """
    source = source if isinstance(source, ModelSource) else ModelSource(source)
    pointer, path = str(source.pointer), Path(source.pointer)
    if path.suffix == ".py":
        raise SourceError(
            f"'{path}' is a file with code, and does not say which function makes the model.",
            f"Name it behind a colon: {shlex.quote(f'{path}:qat')}",
        )
    with quiet_toolkit():
        if is_pointer(pointer) and not path.exists():
            model = _from_factory(source, device)
        else:
            model = _from_file(path, source, device)
    with _running(source):
        return model.eval()


def load_quantized(
    model: torch.nn.Module | ModelSource | str | Path, path: str | Path, *, ema: bool | None = None
) -> torch.nn.Module:
    """The quantized model of a file that ``trtqat quantize`` wrote.

    Args:
        model: The FP32 model that was quantized, of which a copy is made; or the source of it,
            whose own checkpoint is not needed.
        path: With state dict and recipe. No code of it runs (``weights_only``).
        ema: Whether to take averaged weights (EMA, SWA) or the raw ones, if it has both.

    Returns:
        The model with its quantizers, in eval mode, on the device of the FP32 model.

    Raises:
        UsageError: An argument is of another type.
        SourceError: The file cannot be read, has no recipe, or is of another model.
        QuantizerError: The model has quantizers already.
    """
    if isinstance(model, torch.nn.Module):
        with user_code("Copying the model", SourceError, "Give what copy.deepcopy takes."):
            quantized = copied(model).eval()
    else:
        source = model if isinstance(model, ModelSource) else ModelSource(model)
        quantized = load_model(ModelSource(source.pointer, factory_args=source.factory_args))
    load_state(quantized, path, ema=ema)
    if not placed_quantizers(quantized):
        raise SourceError(
            f"Checkpoint '{path}' has no recipe: it is not of a quantized model.",
            "Give the file that trtqat quantize wrote, or Quantized.save.",
        )
    return quantized


def _running(source: ModelSource) -> contextlib.AbstractContextManager[None]:
    """Around methods of a model that its class may have changed, as ``train``."""
    return user_code(
        f"The model of '{source.pointer}'",
        SourceError,
        "It must be a torch.nn.Module that can be moved and put into eval mode.",
    )


def _from_factory(source: ModelSource, device: str) -> torch.nn.Module:
    subject = f"The factory '{source.pointer}'"
    try:
        factory = load_pointer(str(source.pointer))
    except UsageError as error:
        raise SourceError(error.problem, error.remedy) from error
    # TrtqatErrors pass: from insert_quantizers or calibrate, which say the way out by themselves.
    with user_code(
        subject,
        SourceError,
        "It must return the model when it is called with the --factory-arg values alone.",
    ):
        model = factory(**source.factory_args)
    with _running(source):
        if isinstance(model, torch.export.ExportedProgram) or _is_program(model):
            model = program_module(model, str(source.pointer))
        if not isinstance(model, torch.nn.Module):
            raise SourceError(
                f"{subject} returned {returned(model)}, not a model.",
                "It must return a torch.nn.Module, or a torch.export program.",
            )
        check_has_values(model, SourceError)
        model = model.cpu()
        if source.checkpoint is not None:
            load_state(model, source.checkpoint, ema=source.ema)
        return model.to(device)


def _is_program(model: object) -> bool:
    """Whether this is the module of a ``torch.export`` program: it has its mode built in."""
    if not isinstance(model, torch.fx.GraphModule):
        return False
    try:
        model.eval()
    except NotImplementedError:
        return True
    return False


def _from_file(path: Path, source: ModelSource, device: str) -> torch.nn.Module:
    if not is_file(path):
        raise SourceError(
            f"There is no model file '{path}'.",
            "Give a TorchScript file, a torch.export program (.pt2), or a factory as "
            "pkg.module:factory or file.py:factory.",
        )
    if is_onnx(path) or is_plan(path):
        raise SourceError(
            f"'{path}' is {'an ONNX file' if is_onnx(path) else 'an engine'}, and no PyTorch "
            "model.",
            "Give the model that it was made of. What trtqat eval --json says of an engine goes "
            "to --baseline-report.",
        )
    kind = "torch.export program" if path.suffix == ".pt2" else "TorchScript file"
    if source.checkpoint is not None or source.factory_args:
        raise SourceError(
            f"'{path}' is a {kind}; it brings its weights and takes no arguments.",
            "Leave out --checkpoint and --factory-arg.",
        )
    return (
        load_program(path, device=device) if path.suffix == ".pt2" else _torchscript(path, device)
    )


def _has_code(path: Path) -> bool:
    """Whether a zip file of PyTorch's is TorchScript: checkpoints have none."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any("/code/" in name for name in archive.namelist())
    # It ends as a zip file, and is damaged.
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError):
        return False


def _torchscript(path: Path, device: str) -> torch.nn.Module:
    try:
        with warnings.catch_warnings():
            # Deprecated in favour of torch.export, but it is what the file is.
            warnings.simplefilter("ignore", DeprecationWarning)
            model: torch.nn.Module = torch.jit.load(str(path), map_location=device)  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError, OSError) as error:
        looks_like_checkpoint = zipfile.is_zipfile(path)
        if looks_like_checkpoint and _has_code(path):
            raise SourceError(
                f"PyTorch {torch.__version__} does not load the TorchScript file '{path}': "
                f"{first_line(error)}.",
                "If that is an operator of a library, as torchvision, give a factory that imports "
                "it and returns torch.jit.load(path): SOURCE file.py:factory.",
            ) from error
        raise SourceError(
            f"'{path}' is not a TorchScript file"
            + (", but may be a checkpoint." if looks_like_checkpoint else "."),
            "A checkpoint goes with its factory: SOURCE file.py:factory, "
            f"--checkpoint {shlex.quote(str(path))}"
            if looks_like_checkpoint
            else "Write one with torch.jit.trace(model, example).save(path).",
        ) from error
    return model
