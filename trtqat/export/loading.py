"""Loads a PyTorch model from a factory and a checkpoint, or from a file that holds it whole."""

from __future__ import annotations

import ast
import contextlib
import sys
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from trtqat.errors import SourceError, TrtqatError, UsageError, first_line
from trtqat.export.program import load_program, program_module
from trtqat.files import sha256_of
from trtqat.pointers import load_pointer
from trtqat.quant.quantizers import fit_to_checkpoint
from trtqat.quant.silence import quiet_toolkit

_WRAPPERS = ("model_state_dict", "state_dict", "model")
_PREFIXES = ("module.", "_orig_mod.")


@dataclass(frozen=True)
class ModelSource:
    """Where a model comes from.

    Attributes:
        pointer: ``"pkg.module:factory"``, ``"file.py:factory"``, a TorchScript file, or a
            ``torch.export`` program (``.pt2``).
        checkpoint: State dict for the factory's model.
        factory_args: Keyword arguments for the factory.
    """

    pointer: str
    checkpoint: Path | None = None
    factory_args: Mapping[str, Any] = field(default_factory=dict)

    def describe(self) -> dict[str, Any]:
        """What the exported graph records of its source: names and hashes, no host paths."""
        described: dict[str, Any] = {"source": Path(self.pointer).name}
        if self.factory_args:
            described["factory_args"] = dict(self.factory_args)
        if Path(self.pointer).is_file():
            described["source_sha256"] = sha256_of(Path(self.pointer))
        if self.checkpoint is not None:
            described["checkpoint"] = self.checkpoint.name
            described["checkpoint_sha256"] = sha256_of(self.checkpoint)
        return described


def load_model(source: ModelSource | str, *, device: str = "cpu") -> torch.nn.Module:
    """Loads a model in eval mode.

    Args:
        source: Factory with an optional checkpoint, a TorchScript file or a program; a string is
            its pointer.
        device: Where to; the files hold constants that only loading moves.

    Returns:
        The module; a ``torch.jit.ScriptModule`` for a TorchScript file.

    Raises:
        SourceError: The source is missing, raises, is no model, or does not fit the checkpoint.
        QuantizerError: A quantizer in a program is no symmetric INT8, or the factory could not
            insert or calibrate its own.
    """
    source = ModelSource(source) if isinstance(source, str) else source
    path = Path(source.pointer)
    if path.suffix == ".py":
        raise SourceError(
            f"'{path}' is a file with code, and does not say which function makes the model.",
            f"Name it behind a colon: {path}:qat",
        )
    with quiet_toolkit():
        if ":" in source.pointer and not path.exists():
            model = _from_factory(source).to(device)
        else:
            model = _from_file(path, source, device)
    return model.eval()


def parse_factory_args(pairs: list[str]) -> dict[str, Any]:
    """Parses ``NAME=VALUE`` pairs; a value is a Python literal, or else a string.

    Raises:
        UsageError: A pair has no ``=``.
    """
    parsed: dict[str, Any] = {}
    for pair in pairs:
        name, separator, text = pair.partition("=")
        if not separator or not name.isidentifier():
            raise UsageError(f"'{pair}' is no factory argument.", "Write NAME=VALUE.")
        try:
            parsed[name] = ast.literal_eval(text)
        except (ValueError, SyntaxError):
            parsed[name] = text
    return parsed


def _from_factory(source: ModelSource) -> torch.nn.Module:
    try:
        factory = load_pointer(source.pointer)
    except UsageError as error:
        raise SourceError(error.problem, error.remedy) from error
    try:
        # Standard output is for results; ModelOpt prints how many quantizers it inserted.
        with contextlib.redirect_stdout(sys.stderr):
            model = factory(**source.factory_args)
    except TrtqatError:
        # From insert_quantizers or calibrate: it says what is wrong and the way out by itself.
        raise
    except Exception as error:
        raise SourceError(
            f"The factory '{source.pointer}' raised {type(error).__name__}: {first_line(error)}.",
            "It must return the model when it is called with the --factory-arg values alone.",
        ) from error
    if isinstance(model, torch.export.ExportedProgram) or _is_program(model):
        model = program_module(model, source.pointer)
    if not isinstance(model, torch.nn.Module):
        raise SourceError(
            f"The factory '{source.pointer}' returned a {type(model).__name__}, not a model.",
            "It must return a torch.nn.Module, or a torch.export program.",
        )
    model = model.cpu()
    if source.checkpoint is not None:
        _load_checkpoint(model, source.checkpoint)
    return model


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
    if not path.is_file():
        raise SourceError(
            f"There is no model file '{path}'.",
            "Give a TorchScript file, a torch.export program (.pt2), or a factory as "
            "pkg.module:factory or file.py:factory.",
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


def _torchscript(path: Path, device: str) -> torch.nn.Module:
    try:
        with warnings.catch_warnings():
            # Deprecated in favour of torch.export, but it is what the file is.
            warnings.simplefilter("ignore", DeprecationWarning)
            model: torch.nn.Module = torch.jit.load(str(path), map_location=device)  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError, OSError) as error:
        looks_like_checkpoint = zipfile.is_zipfile(path)
        raise SourceError(
            f"'{path}' is not a TorchScript file"
            + (", but may be a checkpoint." if looks_like_checkpoint else "."),
            f"A checkpoint goes with its factory: SOURCE file.py:factory, --checkpoint {path.name}."
            if looks_like_checkpoint
            else "Write one with torch.jit.trace(model, example).save(path).",
        ) from error
    return model


def _load_checkpoint(model: torch.nn.Module, path: Path) -> None:
    state = _read_state_dict(path)
    fit_to_checkpoint(model, state)
    expected = model.state_dict()
    missing = [key for key in expected if key not in state]
    unexpected = [key for key in state if key not in expected]
    differing = [
        f"{key} {tuple(state[key].shape)} for {tuple(expected[key].shape)}"
        for key in expected
        if key in state and state[key].shape != expected[key].shape
    ]
    if missing or unexpected or differing:
        findings = [
            f"{what}: {_first(keys)}"
            for what, keys in (
                ("missing", missing),
                ("not in the model", unexpected),
                ("other shape", differing),
            )
            if keys
        ]
        raise SourceError(
            f"Checkpoint '{path}' does not fit the model ({'; '.join(findings)}).",
            "Build the model as it was trained: check --factory-arg, and that the factory "
            "inserts the quantizers.",
        )
    model.load_state_dict(state)


def _read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    if not path.is_file():
        raise SourceError(f"There is no checkpoint '{path}'.", "Check the path.")
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise SourceError(
            f"Checkpoint '{path}' cannot be read: it is no PyTorch file, or it holds Python "
            f"objects besides tensors ({str(error).splitlines()[0]}).",
            "Save the state dict alone: torch.save(model.state_dict(), path).",
        ) from error
    for wrapper in _WRAPPERS:
        if isinstance(loaded, dict) and isinstance(loaded.get(wrapper), dict):
            loaded = loaded[wrapper]
            break
    if not isinstance(loaded, dict) or not any(torch.is_tensor(v) for v in loaded.values()):
        raise SourceError(
            f"Checkpoint '{path}' holds no state dict.",
            f"It must be a state dict, plain or under one of {', '.join(_WRAPPERS)}.",
        )
    state = {key: value for key, value in loaded.items() if torch.is_tensor(value)}
    for prefix in _PREFIXES:
        if all(key.startswith(prefix) for key in state):
            state = {key[len(prefix) :]: value for key, value in state.items()}
    return state


def _first(keys: list[str], count: int = 3) -> str:
    more = f" and {len(keys) - count} more" if len(keys) > count else ""
    return ", ".join(keys[:count]) + more
