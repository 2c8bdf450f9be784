"""What stands in the ``config.pbtxt`` of a Triton model that is an engine.

It is a ``ModelConfig`` of Triton's ``model_config.proto``, in protobuf's text format
(https://protobuf.dev/reference/protobuf/textformat-spec/). What Triton makes of a field is from
the sources of its core, its server and its TensorRT backend.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trtqat.errors import UsageError
from trtqat.plan.manifest import ProfileShapes
from trtqat.plan.profile_text import profile_text
from trtqat.plan.profiles import BatchRange, batches_in_words, batches_of, joined, main_profile
from trtqat.plan.sizes import Sizes, optimal_sizes, sized_inputs, sizes_in_words
from trtqat.tensors import DYNAMIC, TensorSpec

PLAN_FILE = "model.plan"
LABELS_FILE = "labels.txt"


@dataclass(frozen=True)
class TritonOptions:
    """How Triton is to serve an engine.

    Attributes:
        name: Of the model: its directory, and what clients ask for.
        labels: File with the name of each class on a line of its own.
        instances: Executions at once, on each GPU.
        max_queue_delay_us: How long a request may wait for others to share its batch.
        cuda_graph: Whether Triton captures CUDA graphs for batches of 1, the optimum (of each
            profile) and the maximum. Without batching there are none: Triton would capture but
            never launch them.
        warm_up: Whether Triton runs the optimum shapes once before it serves a request.
    """

    name: str
    labels: Path | None = None
    instances: int = 1
    max_queue_delay_us: int = 100
    cuda_graph: bool = True
    warm_up: bool = True


def config_text(
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    profiles: Mapping[str, ProfileShapes],
    options: TritonOptions,
    more_profiles: Sequence[Mapping[str, ProfileShapes]] = (),
) -> str:
    """The content of ``config.pbtxt``.

    Args:
        inputs: Inputs of the engine, dynamic dimensions as -1.
        outputs: Outputs of the engine, dynamic dimensions as -1.
        profiles: Shapes by input name, of the first profile.
        options: How Triton is to serve it.
        more_profiles: The others.

    Raises:
        UsageError: Triton cannot serve the engine: its smallest batch is above 1 or one up to the
            largest is left out, two inputs take different batches, a tensor has no dimension or a
            dtype that Triton lacks; or an option is out of range.
    """
    _check_options(options)
    batch = batch_range(inputs, outputs, profiles, more_profiles)
    every = (profiles, *more_profiles)
    optima = sorted({batches_of(each, inputs).opt for each in every})
    blocks = [
        "# Written by trtqat for the first version of the model; later builds keep this file.",
        f"name: {_quote(options.name)}",
        'platform: "tensorrt_plan"',
        f"max_batch_size: {batch.max if batch else 0}",
        *(_tensor("input", spec, batch) for spec in inputs),
        *(
            _tensor("output", spec, batch, labels=options.labels is not None and index == 0)
            for index, spec in enumerate(outputs)
        ),
        _block("instance_group", f"count: {options.instances}", "kind: KIND_GPU", *_named(every)),
    ]
    if batch and batch.max > 1:
        # Triton captures CUDA graphs for the preferred sizes, besides 1 and the maximum.
        preferred = f"preferred_batch_size: {_list(optima)}"
        delay = f"max_queue_delay_microseconds: {options.max_queue_delay_us}"
        blocks.append(_block("dynamic_batching", preferred, delay))
    # Without batching, the backend files its graphs under batch 0 and looks for them under 1:
    # https://github.com/triton-inference-server/server/issues/7150
    if options.cuda_graph and batch:
        blocks.append(_block("optimization", _block("cuda", "graphs: true")))
    if options.warm_up and inputs:
        blocks += _warm_ups(inputs, every, batch)
    return "\n".join(blocks) + "\n"


def batch_range(
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    profiles: Mapping[str, ProfileShapes],
    more_profiles: Sequence[Mapping[str, ProfileShapes]] = (),
) -> BatchRange | None:
    """The batches that an engine takes; None where Triton cannot batch for it.

    Args:
        inputs: Inputs of the engine, dynamic dimensions as -1.
        outputs: Outputs of the engine, dynamic dimensions as -1.
        profiles: Shapes by input name, of the first profile.
        more_profiles: The others.

    Raises:
        UsageError: The smallest batch is above 1, one up to the largest is in no profile of one of
            the sizes, or two inputs take different batches.
    """
    # Triton batches along the first dimension of every tensor, or not at all.
    if not inputs or any(spec.shape[:1] != (DYNAMIC,) for spec in (*inputs, *outputs)):
        return None
    every = (profiles, *more_profiles)
    ranges = [_of_all_inputs(each, inputs[0].name) for each in every]
    if len(ranges) > 1:
        return _at_every_size(every, ranges) if sized_inputs(every) else _without_gaps(ranges)
    (batch,) = ranges
    if batch.min > 1:
        raise UsageError(
            f"Triton sends any batch from 1 on, but the engine takes {batch}.",
            f"Build it with --batch 1:{batch.opt}:{batch.max}.",
        )
    return batch


def _of_all_inputs(profile: Mapping[str, ProfileShapes], first: str) -> BatchRange:
    """The batches of one profile, which must be the same for all inputs."""
    batches = {name: BatchRange(p.min[0], p.opt[0], p.max[0]) for name, p in profile.items()}
    batch = batches[first]
    for name, other in batches.items():
        if other != batch:
            raise UsageError(
                f"Triton gives all inputs the same batch, but the engine takes {batch} for "
                f"'{first}' and {other} for '{name}'.",
                f"Build it with one range for all, as --batch 1:{batch.opt}:{batch.max}.",
            )
    return batch


def _without_gaps(ranges: Sequence[BatchRange]) -> BatchRange:
    """What several profiles take together, which must be all from 1 on."""
    largest = max(each.max for each in ranges)
    if joined(ranges) != ((1, largest),):
        listed = ",".join(each.as_option for each in ranges)
        raise UsageError(
            f"Triton sends any batch from 1 to {largest}, but the engine takes "
            f"{batches_in_words(ranges)}.",
            f"Add a range for those between: --batch {listed},1:{largest}:{largest}.",
        )
    return BatchRange(1, ranges[main_profile(ranges)].opt, largest)


def _at_every_size(
    profiles: Sequence[Mapping[str, ProfileShapes]], ranges: Sequence[BatchRange]
) -> BatchRange:
    """What several profiles take together, which must be all from 1 on at each of their sizes."""
    largest = max(each.max for each in ranges)
    names = sized_inputs(profiles)
    for sizes, holding in (part for each in profiles for part in _parts(each, profiles, names)):
        held = [ranges[index] for index in sorted(holding)]
        if joined(held) != ((1, largest),):
            raise UsageError(
                f"Triton sends any batch from 1 to {largest} of any size, but the engine takes "
                f"{batches_in_words(held)} at {sizes_in_words(sizes)}.",
                "Build it with the same batches for each size, as "
                f"{_with_batch(profiles, names, largest)}",
            )
    return BatchRange(1, ranges[main_profile(ranges)].opt, largest)


def _parts(
    profile: Mapping[str, ProfileShapes],
    profiles: Sequence[Mapping[str, ProfileShapes]],
    names: Sequence[str],
) -> Iterator[tuple[Sizes, frozenset[int]]]:
    """The smallest of the sizes of a profile that the same profiles hold, and these, by index.

    Each dimension is cut where another profile begins or ends. Parts that the same profiles hold
    are one part, so there are few of them, however many dimensions there are.
    """
    parts: dict[frozenset[int], Sizes] = {frozenset(range(len(profiles))): {}}
    places = [(each, axis) for each in names for axis in range(1, len(profile[each].min))]
    for name, axis in places:
        spans = [(each[name].min[axis], each[name].max[axis]) for each in profiles]
        low, high = profile[name].min[axis], profile[name].max[axis]
        smaller: dict[frozenset[int], Sizes] = {}
        for holding, sizes in parts.items():
            cuts = {cut for index in holding for cut in (spans[index][0], spans[index][1] + 1)}
            for cut in sorted({low, *(cut for cut in cuts if low < cut <= high)}):
                inside = frozenset(
                    index for index in holding if spans[index][0] <= cut <= spans[index][1]
                )
                smaller.setdefault(inside, {**sizes, name: (*sizes.get(name, ()), cut)})
        parts = smaller
    for holding, sizes in parts.items():
        yield sizes, holding


def _with_batch(
    profiles: Sequence[Mapping[str, ProfileShapes]], names: Sequence[str], largest: int
) -> str:
    """The options for the same sizes, each with all batches."""
    texts = []
    for profile in profiles:
        widened = {
            name: ProfileShapes(
                (1, *profile[name].min[1:]), profile[name].opt, (largest, *profile[name].max[1:])
            )
            for name in names
        }
        texts.append(f"--shapes {profile_text(widened, names)}")
    return " ".join(dict.fromkeys(texts))


def _named(profiles: Sequence[Mapping[str, ProfileShapes]]) -> list[str]:
    """All profiles, by their numbers: Triton takes the first one alone if none is named."""
    if len(profiles) == 1:
        return []
    return [f"profile: [{', '.join(_quote(str(index)) for index in range(len(profiles)))}]"]


_FLOATS = {"float16": "TYPE_FP16", "bfloat16": "TYPE_BF16", "float32": "TYPE_FP32"}
_TYPES = {
    **_FLOATS,
    "float64": "TYPE_FP64",
    "bool": "TYPE_BOOL",
    **{f"int{bits}": f"TYPE_INT{bits}" for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": f"TYPE_UINT{bits}" for bits in (8, 16, 32, 64)},
}


def _check_options(options: TritonOptions) -> None:
    # The name is a directory and a part of the HTTP address. Clients percent-encode all but these
    # characters there, and the server looks for a model of the name as it is encoded.
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}", options.name):
        raise UsageError(
            f"'{options.name}' is no name for a Triton model.",
            "Give a --triton-name of letters, digits, dots, hyphens and underscores, 255 at most.",
        )
    if options.instances < 1:
        raise UsageError(f"{options.instances} instances serve nothing.", "Give 1 or more.")
    if options.max_queue_delay_us < 0:
        raise UsageError(
            f"A request cannot wait for {options.max_queue_delay_us} µs.", "Give 0 or more."
        )


def _tensor(field: str, spec: TensorSpec, batch: BatchRange | None, *, labels: bool = False) -> str:
    if not spec.shape:
        raise UsageError(
            f"The {field} '{spec.name}' has no dimension, which Triton cannot serve.",
            "Give it one in the model, as with reshape(1).",
        )
    shape = spec.shape[1:] if batch else spec.shape
    lines = [
        f"name: {_quote(spec.name)}",
        f"data_type: {_type(spec)}",
        f"dims: {_list(shape or (1,))}",
    ]
    if not shape:
        # One number for each of the batch: clients see [N, 1], the engine [N].
        lines.append("reshape { shape: [] }")
    if labels:
        lines.append(f"label_filename: {_quote(LABELS_FILE)}")
    return _block(field, *lines)


def _type(spec: TensorSpec) -> str:
    if spec.dtype not in _TYPES:
        raise UsageError(
            f"'{spec.name}' is of dtype {spec.dtype}, which Triton does not have.",
            "Cast it to float32 or float16 in the model.",
        )
    return _TYPES[spec.dtype]


def _warm_ups(
    inputs: Sequence[TensorSpec],
    profiles: Sequence[Mapping[str, ProfileShapes]],
    batch: BatchRange | None,
) -> list[str]:
    """One for each profile, of its optimum."""
    if len(profiles) == 1:
        return [_warm_up(inputs, profiles[0], batch, "optimum")]
    by_name: dict[tuple[int, str], Mapping[str, ProfileShapes]] = {}
    for each in profiles:
        opt = batches_of(each, inputs).opt
        sizes = optimal_sizes(each, sized_inputs(profiles))
        at = f" at {sizes_in_words(sizes)}" if sizes else ""
        by_name[opt, f"batch {opt}{at}"] = each
    return [
        _warm_up(inputs, each, batch and BatchRange(opt, opt, opt), name)
        for (opt, name), each in sorted(by_name.items(), key=lambda item: item[0])
    ]


def _warm_up(
    inputs: Sequence[TensorSpec],
    profiles: Mapping[str, ProfileShapes],
    batch: BatchRange | None,
    name: str,
) -> str:
    entries = []
    for spec in inputs:
        shape = profiles[spec.name].opt[1:] if batch else profiles[spec.name].opt
        # Triton's random data are random bytes: as indices they point out of every table.
        data = "random_data: true" if spec.dtype in _FLOATS else "zero_data: true"
        value = _block("value", f"data_type: {_type(spec)}", f"dims: {_list(shape or (1,))}", data)
        entries.append(_block("inputs", f"key: {_quote(spec.name)}", value))
    size = f"batch_size: {batch.opt if batch else 1}"
    return _block("model_warmup", f"name: {_quote(name)}", size, *entries)


def _list(numbers: Iterable[int]) -> str:
    return f"[{', '.join(map(str, numbers))}]"


def _quote(text: str) -> str:
    """A string literal; whatever is not printable ASCII stands as the octal bytes of its UTF-8."""
    return '"' + "".join(_ESCAPES.get(byte, chr(byte)) for byte in text.encode()) + '"'


_ESCAPES = {byte: f"\\{byte:03o}" for byte in (*range(0x20), *b'"\\', *range(0x7F, 0x100))}


def _block(name: str, *lines: str) -> str:
    """A field that is a message, with its own fields indented."""
    body = textwrap.indent("\n".join(lines), "  ")
    return f"{name} {{\n{body}\n}}"
