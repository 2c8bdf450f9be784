"""Loads a checkpoint into a model: ``load_state``, and what ``--checkpoint`` means everywhere."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shlex
import warnings
from collections import OrderedDict
from pathlib import Path

import torch

from trtqat.checks import check_kind
from trtqat.errors import SourceError
from trtqat.exporting.state_dicts import Candidate, Search, Wanted, find_state_dicts, is_same
from trtqat.files import is_file
from trtqat.quant.recipe import apply_recipe, find_recipe, unwrapped
from trtqat.quant.toolkits.quantizers import quantizers_of
from trtqat.quant.toolkits.range_buffers import fit_to_checkpoint, optional_buffers
from trtqat.quant.toolkits.silence import quiet_toolkit
from trtqat.user_code import in_words, user_code

_LOG = logging.getLogger(__name__)

# What the unpickler of weights_only=True refuses, in a page of advice on how to let it pass.
_GLOBAL = re.compile(r"GLOBAL (\S+) was not an allowed global|Trying to (?:load|call) (\S+)")
_REASON = re.compile(r"WeightsUnpickler error: (.+)")
# A counter that only training reads; whoever averages weights averages it, too.
_COUNTER = "num_batches_tracked"
_STATISTICS = ("running_mean", "running_var")


def load_state(model: torch.nn.Module, path: Path | str, *, ema: bool | None = None) -> None:
    """Loads a checkpoint as ``trtqat export --checkpoint`` does, on any host.

    What a training loop put around the model's state dict, and what wrappers put before its keys,
    is undone where it fits the model's own keys. Quantizers get the ranges of the checkpoint also
    if they have none yet, or of another shape.

    Args:
        model: Built as it was trained, with its quantizers; on any device, which it stays on.
        path: What ``torch.save`` wrote. No code of it runs (``weights_only``).
        ema: Whether to take averaged weights (EMA, SWA) or the raw ones, if it has both.

    Raises:
        SourceError: The file cannot be read or holds other things than tensors, does not fit the
            model, leaves a choice, or holds what is no weight.
    """
    check_kind("The path of a checkpoint", path, (str, os.PathLike), "'qat.pt'")
    path = Path(path)
    loaded = _read(path)
    recipe = find_recipe(loaded, path)
    if recipe is not None:
        # Recipes are of the model inside, as save_quantized writes them.
        model = unwrapped(model)
        apply_recipe(model, recipe, path)
    optional = optional_buffers(model)
    expected = model.state_dict()
    shapes = {
        key: value.shape if isinstance(value, torch.Tensor) and key not in optional else None
        for key, value in expected.items()
    }
    search = find_state_dicts(loaded, Wanted(shapes, frozenset(optional)))
    if not search.fitting:
        raise _misfit(path, search, frozenset(optional), model)
    found = _chosen(path, search, ema)
    _check_tensors(path, model, found)
    _tell(path, found, search)
    subject = f"Loading checkpoint '{path}' into the model"
    # What was made in inference mode can be written in it alone.
    is_inference = any(
        isinstance(each, torch.Tensor) and each.is_inference() for each in expected.values()
    )
    with (
        quiet_toolkit(),
        torch.inference_mode(mode=is_inference),
        user_code(subject, SourceError, "See what its class does at loading."),
    ):
        fit_to_checkpoint(model, found.state)
        state = OrderedDict(found.state)
        if found.metadata:
            # Where PyTorch keeps the modules' versions, which their loading may ask for.
            state._metadata = found.metadata  # type: ignore[attr-defined]
        model.load_state_dict(state)


def _read(path: Path) -> object:
    if not is_file(path):
        raise SourceError(f"There is no checkpoint '{path}'.", "Check the path.")
    if _is_safetensors(path):
        raise SourceError(
            f"Checkpoint '{path}' is a safetensors file; a checkpoint is what torch.save writes.",
            "Convert it in Python: torch.save(safetensors.torch.load_file("
            f"{str(path)!r}), {str(path.with_name(f'{path.stem}_torch.pt'))!r}).",
        )
    try:
        with warnings.catch_warnings():
            # Of old formats and of TorchScript, each of which is said below or works.
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    # A damaged file fails anywhere in the unpickler.
    except Exception as error:
        if not path.stat().st_size:
            raise SourceError(f"Checkpoint '{path}' is empty.", "Save it again.") from error
        if "TorchScript" in str(error):
            raise SourceError(
                f"Checkpoint '{path}' is a TorchScript file, which brings its own code.",
                f"Give it as the SOURCE itself: {shlex.quote(str(path))}",
            ) from error
        alone = "Save the state dict alone: torch.save(model.state_dict(), path)."
        if refused := _GLOBAL.search(str(error)):
            made_by = _printable(refused[1] or refused[2])
            raise SourceError(
                f"Checkpoint '{path}' holds Python objects besides tensors, first of "
                f"'{made_by}', which only running code could load.",
                # A state dict as well, of weights in codes of its own.
                "Save the state dict of the model before torchao's quantize_, in floating point."
                if made_by.startswith("torchao.")
                else alone,
            ) from error
        raise SourceError(
            f"Checkpoint '{path}' cannot be read: it is no PyTorch file, or is damaged "
            f"({_reason(error)}).",
            alone,
        ) from error


def _reason(error: Exception) -> str:
    """The first sentence of what PyTorch says."""
    said = str(error)
    if refused := _REASON.search(said):
        return _printable(refused[1].partition(". ")[0].rstrip("."))
    if said.startswith("Weights only load failed"):
        return "its content is not what torch.save writes"
    return _printable(in_words(error).partition(". ")[0])


def _printable(said: str) -> str:
    """A message may quote the file's bytes."""
    return "".join(each if each.isprintable() else "?" for each in said[:160])


def _is_safetensors(path: Path) -> bool:
    """Eight bytes of a length, and a header of that length in JSON."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        start = file.read(9)
        length = int.from_bytes(start[:8], "little")
        return start[8:] == b"{" and 8 + length <= path.stat().st_size
    return False


def _chosen(path: Path, search: Search, ema: bool | None) -> Candidate:
    raw = [each for each in search.fitting if not each.is_averaged]
    averaged = [each for each in search.fitting if each.is_averaged]
    pool = raw or averaged
    if ema is None and raw:
        differ = any(not is_same(each, raw[0]) for each in averaged)
        if differ or (not averaged and search.has_other_average):
            raise SourceError(
                f"Checkpoint '{path}' holds averaged weights (EMA) beside raw ones"
                + (f": {averaged[0]}, and {raw[0]}." if averaged else "."),
                "Say which: --ema or --no-ema (in Python ema=True or ema=False; for "
                "--fake-quantized-checkpoint --fake-quantized-ema or --no-fake-quantized-ema).",
            )
    elif ema is not None:
        pool = averaged if ema else raw
    if not pool:
        if ema and search.has_other_average:
            problem = "holds averaged weights (EMA), but not under the names of the model's"
        else:
            problem = f"holds {'no averaged weights (EMA)' if ema else 'averaged weights only'}"
        raise SourceError(
            f"Checkpoint '{path}' {problem}.", f"Leave out --{'ema' if ema else 'no-ema'}."
        )
    if len(pool) > 1:
        raise SourceError(
            f"Checkpoint '{path}' holds {len(pool)} different states of the model: "
            f"{'; '.join(map(str, pool[:3]))}.",
            "Save the one that is meant alone: torch.save(state_dict, path).",
        )
    return pool[0]


def _tell(path: Path, found: Candidate, search: Search) -> None:
    others = len(search.fitting) > 1 or search.has_other_average
    if found.is_averaged or others:
        kind = "averaged weights (EMA)" if found.is_averaged else "raw weights"
        _LOG.info("Checkpoint '%s': the %s are taken, %s.", path, kind, found)
    if found.left_out:
        _LOG.warning(
            "Checkpoint '%s': %d tensors besides %s are left out: %s.",
            path,
            len(found.left_out),
            found,
            _first(found.left_out),
        )
    half = [key for key, value in found.state.items() if _is_narrow(value)]
    if half:
        _LOG.warning(
            "Checkpoint '%s': %d tensors are stored in %s, as '%s', and keep its rounding.",
            path,
            len(half),
            str(found.state[half[0]].dtype).removeprefix("torch."),
            half[0],
        )


def _is_narrow(value: torch.Tensor) -> bool:
    return value.is_floating_point() and value.element_size() < 4


def _check_tensors(path: Path, model: torch.nn.Module, found: Candidate) -> None:
    """Refuses what loading would convert in silence, or could not, and weights that are none."""
    expected = model.state_dict()
    parameters = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    for key, value in found.state.items():
        kind = _kind(value)
        wanted = expected.get(key)
        if kind is None and wanted is not None and _differs(key, value, wanted):
            kind = f"of {_dtype(value)} where the model has {_dtype(wanted)}"
        if kind is not None:
            raise SourceError(
                f"Tensor '{key}' in checkpoint '{path}' is {kind}.",
                "Save the state dict of the model as it was trained, in floating point.",
            )
        is_weight = key in parameters or key.rpartition(".")[2] in _STATISTICS
        if is_weight and not torch.isfinite(value).all():
            raise SourceError(
                f"Tensor '{key}' in checkpoint '{path}' holds values that are not finite.",
                "Take a checkpoint from before the training diverged.",
            )


def _kind(value: torch.Tensor) -> str | None:
    """What a tensor is, if it is not one of plain numbers."""
    if value.is_meta:
        return "without numbers: it is on the device 'meta'"
    if value.is_quantized:
        return "quantized by PyTorch"
    if value.layout != torch.strided or value.is_nested:
        return "sparse or nested"
    return "of complex numbers" if value.is_complex() else None


def _differs(key: str, value: torch.Tensor, wanted: torch.Tensor) -> bool:
    if value.is_floating_point() == wanted.is_floating_point():
        return (value.dtype == torch.bool) != (wanted.dtype == torch.bool)
    if wanted.is_floating_point():
        return True
    # Whole numbers that became floats on the way, by .half() over all of a state dict.
    return key.rpartition(".")[2] != _COUNTER and bool((value != value.round()).any())


def _dtype(value: torch.Tensor) -> str:
    return str(value.dtype).removeprefix("torch.")


def _misfit(
    path: Path, search: Search, optional: frozenset[str], model: torch.nn.Module
) -> SourceError:
    closest = search.closest
    if closest is None:
        return SourceError(
            f"Checkpoint '{path}' holds no state dict: no mapping in it has tensors by name.",
            "Save one: torch.save(model.state_dict(), path).",
        )
    if not closest.common:
        return SourceError(
            f"Checkpoint '{path}' has no name in common with the model: "
            f"{_first(list(closest.state))} for {_first(list(closest.missing))}.",
            "It is of another model, or of a part of it: check the factory and its --factory-arg.",
        )
    expected = model.state_dict()
    shapes = [
        f"{key} {tuple(closest.state[key].shape)} for {tuple(expected[key].shape)}"
        for key in closest.differing
    ]
    findings = [
        f"{what}: {_first(keys)}"
        for what, keys in (
            ("missing", closest.missing),
            ("not in the model", closest.unexpected),
            ("other shape", shapes),
        )
        if keys
    ]
    off = f", with '{closest.prefix}' taken off its keys" if closest.prefix else ""
    return SourceError(
        f"Checkpoint '{path}' does not fit the model{off} ({'; '.join(findings)}).",
        _remedy(closest, optional, model),
    )


def _remedy(closest: Candidate, optional: frozenset[str], model: torch.nn.Module) -> str:
    if closest.missing and not closest.unexpected and optional.issuperset(closest.missing):
        return (
            "It was saved before the quantizers had ranges: save the state dict after calibrate "
            "and the fine-tuning."
        )
    has_quantizers = next(quantizers_of(model), None) is not None
    is_quantized = any("quant" in key or key.endswith("._amax") for key in closest.unexpected)
    if is_quantized and not has_quantizers:
        return "The factory's model has no quantizers: insert them in the factory."
    if has_quantizers and is_quantized:
        return "Insert the quantizers in the factory as they were for the training, skip= included."
    return "Build the model as it was trained: check the factory and its --factory-arg."


def _first(keys: list[str] | tuple[str, ...], count: int = 3) -> str:
    more = f" and {len(keys) - count} more" if len(keys) > count else ""
    return ", ".join(keys[:count]) + more
