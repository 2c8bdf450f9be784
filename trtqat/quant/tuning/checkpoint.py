"""The file that a fine-tuning goes on from, and the random states in it."""

from __future__ import annotations

import io
import random
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trtqat.errors import SourceError
from trtqat.files import is_file, write_atomically
from trtqat.quant.tuning.options import FineTuneOptions

SCHEMA = 1
_KEY = "trtqat_fine_tuning"
State = dict[str, Any]


def identity_of(model: nn.Module, options: FineTuneOptions, teacher: object, loss: object) -> State:
    """What makes a run this one and no other, in plain values.

    Args:
        model: That is trained.
        options: How.
        teacher: The model that it learns from; None without one.
        loss: The user's function; None without one.
    """
    return {
        "model": type(model).__name__,
        "state dict": {name: str(list(each.shape)) for name, each in model.state_dict().items()},
        **asdict(options),
        "teacher": type(teacher).__name__,
        "loss": getattr(loss, "__qualname__", type(loss).__name__),
    }


def write_state(
    path: Path, run: Mapping[str, object], state: State, generator: torch.Generator | None
) -> None:
    """Writes where a fine-tuning stands; the file is whole, or as it was before.

    Of several processes that train together the first one writes, for all of them.

    Args:
        path: The file.
        run: What makes it this run and no other: plain values by name.
        state: Tensors, numbers, strings, lists and dicts.
        generator: What the data draws from besides the global generators.

    Raises:
        UsageError: The file cannot be written.
    """
    randoms: list[Any] = [_random_states(generator)]
    if is_distributed():
        randoms *= torch.distributed.get_world_size()
        torch.distributed.all_gather_object(randoms, randoms[0])
    if _rank() == 0:
        buffer = io.BytesIO()
        state = {**state, "random": randoms}
        torch.save({_KEY: SCHEMA, "run": dict(run), "state": state}, buffer)
        write_atomically(path, buffer.getvalue())
    if is_distributed():
        torch.distributed.barrier()


def read_state(path: Path, run: Mapping[str, object]) -> State | None:
    """Reads where this fine-tuning stood; None where there is no such file yet.

    Args:
        path: The file.
        run: What makes it this run and no other.

    Raises:
        SourceError: It is no checkpoint of a fine-tuning, or that of another one.
    """
    if not is_file(path):
        return None
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise SourceError(
            f"'{path}' is damaged, or not the checkpoint of a fine-tuning.",
            "Remove it to begin anew, or name another file.",
        ) from error
    if not isinstance(loaded, Mapping) or loaded.get(_KEY) != SCHEMA:
        raise SourceError(
            f"'{path}' is not the checkpoint of a fine-tuning by this trtqat.",
            "Name a file of its own for checkpoint=.",
        )
    for name, value in run.items():
        saved = loaded["run"].get(name)
        if saved != value:
            raise SourceError(
                f"The checkpoint '{path}' is of another run: {_difference(name, saved, value)}.",
                "Give what it was begun with, or remove the file to begin anew.",
            )
    state: State = loaded["state"]
    return state


def _difference(name: str, saved: object, value: object) -> str:
    if isinstance(saved, Mapping) and isinstance(value, Mapping):
        keys = [*value, *(key for key in saved if key not in value)]
        key = next(key for key in keys if saved.get(key) != value.get(key))
        there, here = saved.get(key, "nothing"), value.get(key, "nothing")
        return f"its {name} has {there} for '{key}', this one {here}"
    return f"its {name} is {saved!r}, not {value!r}"


def restore_random_states(state: State, generator: torch.Generator | None) -> None:
    """Lets all generators go on as they would have when the state was written.

    Args:
        state: What ``read_state`` returned.
        generator: The data's own.
    """
    if len(state["random"]) <= _rank():
        return  # more processes now than then
    states = state["random"][_rank()]
    version, numbers, gauss = states["python"]
    random.setstate((version, tuple(numbers), gauss))
    torch.set_rng_state(states["torch"])
    if "numpy" in states and "numpy" in sys.modules:
        sys.modules["numpy"].random.set_state(states["numpy"])
    if "cuda" in states and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
    if "data" in states and generator is not None:
        generator.set_state(states["data"])


def _random_states(generator: torch.Generator | None) -> State:
    """The states of everything that random numbers are drawn from."""
    states: State = {"python": random.getstate(), "torch": torch.get_rng_state()}
    if "numpy" in sys.modules:
        kind, keys, *others = sys.modules["numpy"].random.get_state()
        states["numpy"] = (kind, keys.tolist(), *others)
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        states["cuda"] = torch.cuda.get_rng_state_all()
    if generator is not None:
        states["data"] = generator.get_state()
    return states


def is_distributed() -> bool:
    """Whether several processes train together."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _rank() -> int:
    return torch.distributed.get_rank() if is_distributed() else 0
