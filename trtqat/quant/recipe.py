"""The recipe of a quantized model, and the file that holds it beside the state dict.

The file is what ``torch.save`` writes, of tensors, numbers, strings, lists and dicts alone, so it
loads with ``weights_only``. With the recipe the quantized model is made from the float model's
factory, and nobody writes a second one.
"""

from __future__ import annotations

import io
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from trtqat.errors import SourceError, UsageError
from trtqat.files import write_atomically
from trtqat.quant.int8_quantizer import Int8Quantizer
from trtqat.quant.placing.attention import PROBABILITIES
from trtqat.quant.placing.functions import ATTENTION, FUNCTIONS
from trtqat.quant.placing.interception import Call
from trtqat.quant.placing.placed import call_counts, placed_quantizers, put_quantizers
from trtqat.quant.placing.placement import Place, PlannedQuantizer, Target
from trtqat.version import __version__

KEY = "trtqat_recipe"
STATE = "state_dict"
SCHEMA = 1
_ATTRIBUTE = "_trtqat_recipe"
# Their state dicts have other keys than that of the one model in them.
_WRAPPERS = (DataParallel, DistributedDataParallel, AveragedModel)


@dataclass(frozen=True)
class QuantizerRecipe:
    """One quantizer.

    Attributes:
        name: Its dotted name in the model.
        places: Path, function, index and operand of each of its places.
        axis: The channel axis of a weight; None for one range.
        dim: Number of dimensions of what it quantizes.
        is_weight: Whether it stands on a weight.
        method: How its range was chosen.
        amax: The largest magnitude that it represents; all of them are in the state dict.
    """

    name: str
    places: list[tuple[str, str, int, str]]
    axis: int | None
    dim: int
    is_weight: bool
    method: str
    amax: float


@dataclass(frozen=True)
class Recipe:
    """How a model was quantized.

    Attributes:
        model: Its class.
        quantizers: All of them, in module order.
        counts: By the path of a module, how often its forward calls each function.
        keep: Patterns that were left in floating point.
        for_: The TensorRT that it is for; None for any.
        images: Samples that ranges were chosen on.
        versions: Of trtqat and PyTorch.
        schema: Number of this form.
    """

    model: str
    quantizers: list[QuantizerRecipe]
    counts: dict[str, dict[str, int]]
    keep: list[str] = field(default_factory=list)
    for_: Target | None = None
    images: int = 0
    versions: dict[str, str] = field(default_factory=dict)
    schema: int = SCHEMA

    @classmethod
    def of(
        cls,
        model: nn.Module,
        methods: Mapping[str, str],
        *,
        keep: tuple[str, ...] = (),
        for_: Target | None = None,
        images: int = 0,
    ) -> Recipe:
        """Reads the recipe off a model with quantizers of ours.

        Args:
            model: With its quantizers.
            methods: By quantizer, how its range was chosen.
            keep: Patterns that were left in floating point.
            for_: The TensorRT that it is for.
            images: Samples that ranges were chosen on.
        """
        quantizers = [
            QuantizerRecipe(
                each.name,
                [(p.path, p.call.function, p.call.index, p.operand) for p in each.places],
                each.module.axis,
                each.module.amax.dim(),
                each.module.is_weight,
                methods.get(each.name, "trained"),
                float(each.module.amax.detach().max()),
            )
            for each in placed_quantizers(model)
        ]
        versions = {"trtqat": __version__, "torch": str(torch.__version__)}
        return cls(
            type(model).__name__,
            quantizers,
            call_counts(model),
            list(keep),
            for_,
            images,
            versions,
        )


def remember(model: nn.Module, recipe: Recipe) -> None:
    """Keeps with a model how it was quantized."""
    model.__dict__[_ATTRIBUTE] = recipe


def recipe_of(model: nn.Module) -> Recipe:
    """How a model was quantized, with the ranges that it has now.

    Raises:
        UsageError: It has no quantizers of ours.
    """
    known: Recipe | None = model.__dict__.get(_ATTRIBUTE)
    methods = {each.name: each.method for each in known.quantizers} if known else {}
    recipe = (
        Recipe.of(model, methods, keep=tuple(known.keep), for_=known.for_, images=known.images)
        if known
        else Recipe.of(model, methods)
    )
    if not recipe.quantizers:
        raise UsageError(
            f"{type(model).__name__} has no quantizers of trtqat.quantize.",
            "Quantize it first: trtqat.quantize(model, batches).",
        )
    return recipe


def save_quantized(
    model: nn.Module, path: str | Path, *, state: Mapping[str, torch.Tensor] | None = None
) -> None:
    """Writes state dict and recipe of a quantized model; the file is whole or not there.

    Args:
        model: With the quantizers of ``trtqat.quantize``, maybe trained since; also in
            DistributedDataParallel, an AveragedModel, or what ``torch.compile`` returns.
        path: The file to write.
        state: Another state dict of the same model, as averaged weights (EMA).

    Raises:
        UsageError: The model has no such quantizers, or the file cannot be written.
    """
    model = unwrapped(model)
    recipe = asdict(recipe_of(model))
    buffer = io.BytesIO()
    own = model.state_dict()
    saved: OrderedDict[str, torch.Tensor] = OrderedDict(own if state is None else state)
    # The modules' versions, which their loading may ask for, as torchvision's MNASNet does.
    saved._metadata = getattr(own, "_metadata", {})  # type: ignore[attr-defined]
    torch.save({KEY: recipe, STATE: saved}, buffer)
    write_atomically(Path(path), buffer.getvalue())


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside of (Distributed)DataParallel, an average, and what torch.compile returns."""
    while isinstance(model, _WRAPPERS) or "_orig_mod" in model._modules:
        model = next(model.children())
    return model


def find_recipe(loaded: object, path: str | Path) -> Recipe | None:
    """The recipe in what ``torch.load`` returned; None for other checkpoints.

    Args:
        loaded: What the file holds.
        path: The file, for messages.

    Raises:
        SourceError: The recipe is damaged, or of a newer form.
    """
    if not isinstance(loaded, Mapping) or KEY not in loaded:
        return None
    fields = loaded[KEY]
    if isinstance(fields, Mapping) and fields.get("schema") != SCHEMA:
        raise SourceError(
            f"The recipe in '{path}' has the schema {fields.get('schema')!r}; this trtqat reads "
            f"{SCHEMA}.",
            "Read it with the trtqat that wrote it, or quantize the model again.",
        )
    try:
        quantizers = [_quantizer(each) for each in fields["quantizers"]]
        counts = {
            str(path): {str(name): int(count) for name, count in each.items()}
            for path, each in fields["counts"].items()
        }
        recipe = Recipe(**{**fields, "quantizers": quantizers, "counts": counts})
        _check_places(recipe)
        return recipe
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise SourceError(
            f"The recipe in '{path}' is damaged.", "Quantize the model again."
        ) from error


def _check_places(recipe: Recipe) -> None:
    """Every quantizer must be at an operand of a call that its module makes."""
    operands = {
        each.name: {operand.name for operand in each.operands} for each in FUNCTIONS.values()
    }
    operands[ATTENTION.name].add(PROBABILITIES)
    for each in recipe.quantizers:
        for path, function, index, operand in each.places:
            is_known = operand in operands.get(function, ())
            if not is_known or not 0 <= index < recipe.counts.get(path, {}).get(function, 0):
                raise ValueError(f"'{path}' has no operand '{operand}' of '{function}' {index}")


def _quantizer(fields: Mapping[str, Any]) -> QuantizerRecipe:
    places = [
        (str(path), str(function), int(index), str(operand))
        for path, function, index, operand in fields["places"]
    ]
    return QuantizerRecipe(**{**fields, "places": places})


def apply_recipe(model: nn.Module, recipe: Recipe, path: str | Path) -> None:
    """Puts the quantizers of a recipe into a float model; their ranges come with the state dict.

    Args:
        model: As the recipe's model was before; changed in place.
        recipe: How it was quantized.
        path: The recipe's file, for messages.

    Raises:
        SourceError: The recipe is of another model.
    """
    modules = dict(model.named_modules())
    lacking = [
        place[0] for each in recipe.quantizers for place in each.places if place[0] not in modules
    ]
    if lacking:
        raise SourceError(
            f"The recipe in '{path}' is of another model, a {recipe.model}: it quantizes in "
            f"'{lacking[0]}', which {type(model).__name__} does not have.",
            "Give the factory of the FP32 model that was quantized, with its --factory-arg.",
        )
    quantizers = {}
    for each in recipe.quantizers:
        places = tuple(
            Place(where, Call(function, index), operand)
            for where, function, index, operand in each.places
        )
        planned = PlannedQuantizer(places, each.axis, each.dim, each.is_weight)
        quantizers[planned] = Int8Quantizer(each.axis, is_weight=each.is_weight)
    put_quantizers(model, quantizers, recipe.counts)
    remember(model, recipe)
