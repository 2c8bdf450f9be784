"""What a user asks of a build, as text or as Python values, read into ``BuildOptions``."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from trtqat.building.options import BuildOptions
from trtqat.building.profiles import ProfileOptions, Shapes
from trtqat.building.rtx import parse_targets
from trtqat.building.triton.config import TritonOptions
from trtqat.building.triton.repository import TritonTarget
from trtqat.checks import check_kind, check_known
from trtqat.errors import UsageError
from trtqat.plan.header import Target
from trtqat.plan.profile_text import GivenShapes, parse_profile

if TYPE_CHECKING:
    from typing_extensions import Unpack


class BuildKeywords(TypedDict, total=False):
    """The options of ``trtqat build`` as keywords; what is None or empty is TensorRT's default.

    Attributes:
        batch: ``"MIN:OPT:MAX"``, one number for all three, or three of them in a tuple. Several
            with commas, as ``"1,8,32"`` or ``"1:32:128,8,32"``, or in a list, make as many
            profiles of one plan.
        shapes: One profile, or a list of them: ``"images:1:8:32x3x48x160"``, each dimension a
            number or MIN:OPT:MAX, or ``{"images": ((1, 8, 32), 3, 48, 160)}``.
        min_shapes: ``"NAME:1x3x224x224,OTHER:1x10"``, or shapes by input name.
        opt_shapes: Shapes to tune for, in the same form.
        max_shapes: Largest shapes, in the same form.
        workspace: Ceiling for scratch memory: ``"4GiB"``, or bytes.
        optimization_level: 0 (fast build) to 5 (fast engine).
        timing_cache: File to read and update; ``"none"`` is no file.
        tactic_sources: Changes as trtexec spells them, for example ``"-cublas,-cudnn"``.
        fp16: Whether layers that are not INT8 may be FP16; None is yes.
        version_compatible: Whether newer TensorRT versions may run the plan.
        exclude_lean_runtime: Whether such a plan leaves out its lean runtime.
        strip_weights: Whether the plan leaves out its weights.
        hardware_compatibility: ``none``, ``ampere+`` or ``same-cc``.
        sign: File of the private Ed25519 key to sign the manifest with.
        for_: Which library builds: TensorRT ``8.6``, ``10`` or ``11``, or ``rtx``.
        targets: For TensorRT for RTX: ``"sm86,sm89"``, or a list of such names.
        plugins: Shared libraries with plugins, in a list, or one of them.
        triton_repository: A model repository that gets the engine as well.
        triton_name: Of the model there; the plan's name without its suffix if not given.
        triton_labels: File with the name of each class on a line of its own.
        triton_instances: Executions at once, on each GPU.
        triton_queue_delay_us: How long a request may wait for others to share its batch.
    """

    batch: str | int | tuple[int, int, int] | list[Any] | None
    shapes: GivenShapes | Sequence[GivenShapes] | None
    min_shapes: str | Shapes
    opt_shapes: str | Shapes
    max_shapes: str | Shapes
    workspace: str | int | None
    optimization_level: int | None
    timing_cache: Path | str | None
    tactic_sources: str
    fp16: bool | None
    version_compatible: bool
    exclude_lean_runtime: bool
    strip_weights: bool
    hardware_compatibility: str
    sign: Path | str | None
    for_: Target | None
    targets: str | Sequence[str] | None
    plugins: Path | str | Sequence[Path | str] | None
    triton_repository: Path | str | None
    triton_name: str | None
    triton_labels: Path | str | None
    triton_instances: int | None
    triton_queue_delay_us: int | None


def parse_options(plan: Path | str, **keywords: Unpack[BuildKeywords]) -> BuildOptions:
    """Reads what ``trtqat build`` takes.

    Args:
        plan: The plan to write, whose name a model for Triton gets.
        **keywords: The options of ``trtqat build``, as ``BuildKeywords`` lists them.

    Raises:
        UsageError: There is no such option, or a value has another form.
    """
    check_known(keywords, BuildKeywords.__annotations__, "a build")
    # An option of the command line that is empty says nothing.
    given: dict[str, Any] = {name: value for name, value in keywords.items() if value != ""}
    profile = parse_profiles(
        given.pop("batch", None),
        {name: parse_shapes(given.pop(name, {})) for name in _SHAPES},
        given.pop("shapes", None),
    )
    if given.get("timing_cache") == "none":
        del given["timing_cache"]
    if given.get("fp16", True) is None:
        del given["fp16"]
    return BuildOptions(
        profile=profile,
        targets=parse_targets(given.pop("targets", None)),
        workspace_bytes=parse_bytes(given.pop("workspace", None)),
        plugins=parse_plugins(given.pop("plugins", None)),
        triton=_triton_target(
            Path(plan), given.pop("triton_repository", None), _serving_options(given)
        ),
        **given,
    )


def parse_profiles(
    batch: str | int | Sequence[Any] | None,
    shapes: Mapping[str, Shapes],
    profiles: GivenShapes | Sequence[GivenShapes] | None = None,
) -> ProfileOptions:
    """Reads the batches of one profile or of several, and trtexec-style shapes.

    Args:
        batch: A range, or several with commas or in a list.
        shapes: By ``min_shapes``, ``opt_shapes`` and ``max_shapes``.
        profiles: The shapes of a profile, or of each of several.

    Raises:
        UsageError: One has another form, or profiles are told in two ways.
    """
    several = batch.split(",") if isinstance(batch, str) else batch
    whole = [profiles] if isinstance(profiles, (str, Mapping)) else profiles or ()
    check_kind("The shapes", whole, (list, tuple), "['images:1:8:32x3x48x160']")
    if whole:
        return _of_whole_profiles(whole, several, shapes)
    if not isinstance(several, list):
        return ProfileOptions(batch=parse_batch(several), **shapes)  # type: ignore[arg-type]
    if None in several or not several:
        raise _no_range(batch)
    first, *more = (ProfileOptions(batch=parse_batch(each)) for each in several)
    if not more:
        return replace(first, **shapes)  # type: ignore[arg-type]
    for name, given in shapes.items():
        if given:
            raise UsageError(
                f"Several profiles are made of --batch alone, and --{name.replace('_', '-')} is "
                "there, too.",
                "Give --batch one range, or leave out the shapes.",
            )
    return replace(first, more=tuple(more))


def _of_whole_profiles(
    profiles: Sequence[GivenShapes], batch: object, shapes: Mapping[str, Shapes]
) -> ProfileOptions:
    """What ``--shapes`` says, once for each profile."""
    for name, given in shapes.items():
        if given:
            option = f"--{name.replace('_', '-')}"
            raise UsageError(
                f"--shapes is a whole profile, and {option} is there, too.",
                f"Give --shapes alone, or {option} without it.",
            )
    if isinstance(batch, list) and len(batch) != 1:
        raise UsageError(
            "Each --shapes is a profile, and --batch has several, too.",
            "Give the batches in --shapes, as in images:1:8:32x3x48x160, or --batch one range.",
        )
    of_others = parse_batch(batch[0] if isinstance(batch, list) else batch)  # type: ignore[arg-type]
    first, *more = (_whole_profile(each, of_others) for each in profiles)
    return replace(first, more=tuple(more))


def _whole_profile(given: GivenShapes, batch: tuple[int, int, int] | None) -> ProfileOptions:
    profile = parse_profile(given)
    named = next(iter(profile.values()))
    return ProfileOptions(
        batch,
        {name: each.min for name, each in profile.items()},
        {name: each.opt for name, each in profile.items()},
        {name: each.max for name, each in profile.items()},
        # An input that is not named has the batch of those that are.
        others=(named.min[0], named.opt[0], named.max[0]),
    )


def parse_batch(batch: str | int | tuple[int, int, int] | None) -> tuple[int, int, int] | None:
    """Reads ``MIN:OPT:MAX``, or one number for all three; nothing of nothing.

    Raises:
        UsageError: It is something else, or not ascending from 1.
    """
    if batch is None:
        return None
    parts = batch if isinstance(batch, tuple) else str(batch).split(":")
    try:
        numbers = [int(str(part)) for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) == 1:
        numbers *= 3
    if len(numbers) != 3 or not 1 <= numbers[0] <= numbers[1] <= numbers[2]:
        raise _no_range(batch)
    return numbers[0], numbers[1], numbers[2]


def _no_range(batch: object) -> UsageError:
    return UsageError(
        f"'{batch}' is no batch range.",
        "Write MIN:OPT:MAX, as in 1:32:128, or several with commas, as in 1,8,32.",
    )


def parse_shapes(shapes: str | Shapes) -> dict[str, tuple[int, ...]]:
    """Reads trtexec-style shapes: ``NAME:1x3x224x224,OTHER:1x10``, or a mapping by name.

    A name may hold colons; the shape stands behind the last one.

    Raises:
        UsageError: It has another form.
    """
    found: dict[str, tuple[int, ...]] = {}
    for name, dims in _named(shapes):
        try:
            shape = tuple(int(str(dim)) for dim in dims)
        except ValueError:
            shape = ()
        if not name or not shape or min(shape) < 0:
            raise UsageError(
                f"'{name}:{'x'.join(map(str, dims))}' is no shape.",
                _SHAPES_HINT,
            )
        found[name] = shape
    return found


def _named(shapes: str | Shapes) -> Iterator[tuple[str, Sequence[object]]]:
    if isinstance(shapes, Mapping):
        yield from shapes.items()
        return
    check_kind("A shape", shapes, str, "'images:1x3x224x224'")
    for part in filter(None, shapes.split(",")):
        name, colon, dims = part.rpartition(":")
        if not colon:
            raise UsageError(f"'{part}' is no shape.", _SHAPES_HINT)
        yield name, dims.split("x")


def parse_bytes(size: str | int | None) -> int | None:
    """Reads a size as ``4GiB``, ``512MiB``, ``2G`` (GiB) or plain bytes; nothing of nothing.

    Raises:
        UsageError: It has another form or is not positive.
    """
    if size is None:
        return None
    match = re.fullmatch(
        r"(\d+(?:\.\d+)?)\s*(?:([KMG])(?:i?B)?|B)?", str(size).strip(), re.IGNORECASE
    )
    factor = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}
    amount = int(float(match[1]) * factor[(match[2] or "").upper()]) if match else 0
    if amount <= 0:
        raise UsageError(f"'{size}' is no amount of memory.", "Write 4GiB or 512MiB.")
    return amount


def parse_plugins(
    plugins: Path | str | Sequence[Path | str] | None,
) -> tuple[Path | str, ...]:
    """One library or several; nothing of nothing.

    Raises:
        UsageError: It is something else.
    """
    if plugins is None:
        return ()
    if isinstance(plugins, (str, os.PathLike)):
        return (plugins,)
    check_kind("The plugin libraries", plugins, (list, tuple), "['libplugins.so']")
    return tuple(plugins)


_SHAPES_HINT = "Write NAME:1x3x224x224, with commas between inputs."
_SHAPES = ("min_shapes", "opt_shapes", "max_shapes")
# Keyword of a build → field of TritonOptions.
_SERVING = {
    "triton_name": "name",
    "triton_labels": "labels",
    "triton_instances": "instances",
    "triton_queue_delay_us": "max_queue_delay_us",
}


def _serving_options(given: dict[str, Any]) -> dict[str, Any]:
    """Takes out what is for Triton; what is not given is left to its defaults."""
    values = {field: given.pop(keyword, None) for keyword, field in _SERVING.items()}
    return {field: value for field, value in values.items() if value is not None}


def _triton_target(
    plan: Path, repository: Path | str | None, serving: dict[str, Any]
) -> TritonTarget | None:
    if repository is not None:
        if "labels" in serving:
            serving["labels"] = Path(serving["labels"])
        return TritonTarget(Path(repository), TritonOptions(**{"name": plan.stem, **serving}))
    if serving:
        raise UsageError(
            "The other --triton-… options are for a model repository, and none is given.",
            "Add --triton-repository DIR.",
        )
    return None
