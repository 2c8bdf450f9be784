"""The same quantized model with some layers in floating point, complete with all its ranges."""

from __future__ import annotations

import glob
from collections.abc import Callable, Sequence
from typing import TypeAlias

from trtqat.quant.placing.placed import placed_quantizers
from trtqat.quant.placing.placement import place_quantizers
from trtqat.quant.quantize import Quantized, keeping
from trtqat.quant.recipe import recipe_of

# Quantizes the FP32 model anew, on the same samples, keeping what these patterns match.
Requantize: TypeAlias = Callable[[Sequence[str]], Quantized]


def keep_layers(
    quantized: Quantized, names: Sequence[str], requantize: Requantize | None = None
) -> Quantized:
    """Lets layers go back to floating point.

    A layer that does may change which operand of a sum is quantized. That one has no range yet:
    then the model is quantized anew, which gives all others the ranges that they have.

    Args:
        quantized: Is not changed.
        names: Of layers, besides those that were kept already.
        requantize: Quantizes anew; None leaves an operand without a range in floating point.

    Raises:
        QuantizerError: Nothing quantized is left.
    """
    if not names:
        return quantized
    # A name may hold a pattern's letters.
    patterns = [glob.escape(name) for name in names]
    if requantize is not None and _lacks_ranges(quantized, patterns):
        return requantize(patterns)
    return keeping(quantized, patterns)


def _lacks_ranges(quantized: Quantized, patterns: Sequence[str]) -> bool:
    """Whether something is to be quantized that was not before."""
    recipe = recipe_of(quantized.model)
    placement = place_quantizers(
        quantized.recording,
        keep=(*recipe.keep, *patterns),
        for_=recipe.for_,  # type: ignore[arg-type]
    )
    known = {place for each in placed_quantizers(quantized.model) for place in each.places}
    return any(each.places[0] not in known for each in placement.quantizers)
