"""The warning about profiles for many batches, where that is known to cost time.

TensorRT 8.6 compiles transformers into subgraphs that are slower for a range of batches than for
one: on an H100 and 8.6.0, a ViT-S/16 at batch 32 takes 2.730 ms with 1:32:32, and 1.848 ms with
32:32:32. Convolutional networks lose little: ResNet-50 takes 0.790 ms with 1:128:512, and 0.737 ms
with 32:32:32.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from trtqat.building.proof import Proof
from trtqat.plan.coverage import Coverage
from trtqat.plan.manifest import Manifest
from trtqat.plan.profile_text import profile_text
from trtqat.plan.profiles import BatchRange, batches_of
from trtqat.plan.sizes import largest_profile
from trtqat.tensors import DYNAMIC

_LOG = logging.getLogger(__name__)

_VERSION = "8.6."
# Share of the products from which a network is one of compiled subgraphs.
_SHARE = 0.5


def warn_of_wide_profile(plan: Path, manifest: Manifest, proof: Proof) -> None:
    """Warns of a plan without a profile for one batch alone, if its subgraphs lose by that.

    What a range of sizes costs was not measured, so nothing is said of it.

    Args:
        plan: The plan, for the message.
        manifest: What was built.
        proof: Its layers, as far as they are known.
    """
    profiles = manifest.all_profiles
    batches = batches_of(profiles[largest_profile(profiles)], manifest.inputs)
    has_sizes = any(DYNAMIC in spec.shape[1:] for spec in manifest.inputs)
    # Who has asked for several batches of one size has chosen.
    is_chosen = len(profiles) > 1 and (
        not has_sizes or any(batches_of(each, manifest.inputs).is_static for each in profiles)
    )
    is_known = manifest.library == "tensorrt" and manifest.tensorrt.startswith(_VERSION)
    if is_chosen or batches.is_static or not is_known or not _is_compiled(proof):
        return
    _LOG.warning(
        "'%s' has one profile for batches %d to %d%s, and TensorRT %s runs the subgraphs that it "
        "compiles, as those of transformers, slower by such a one: a ViT-S/16 took 2.730 ms at "
        "batch 32 with --batch 1:32:32, and 1.848 ms with 32:32:32. %s",
        plan,
        batches.min,
        batches.max,
        " of each size" if len(profiles) > 1 else "",
        manifest.tensorrt,
        _advice_on_sizes(manifest, batches) if has_sizes else _advice(batches),
    )


def _advice(batches: BatchRange) -> str:
    sizes = dict.fromkeys((batches.min, batches.opt, batches.max))
    return (
        f"Build it with --batch {','.join(map(str, sizes))},{batches}: a profile for each size, "
        "and one for those between."
    )


def _advice_on_sizes(manifest: Manifest, batches: BatchRange) -> str:
    names = [spec.name for spec in manifest.inputs if DYNAMIC in spec.shape]
    profile = manifest.all_profiles[largest_profile(manifest.all_profiles)]
    alone = {
        name: replace(profile[name], min=profile[name].opt, max=profile[name].opt) for name in names
    }
    return (
        f"Add a profile for batch {batches.opt} alone at each size that counts, as --shapes "
        f"{profile_text(alone, names)}."
    )


def _is_compiled(proof: Proof) -> bool:
    """Whether most products of the graph run inside compiled subgraphs."""
    from trtqat.inspection.coverage import is_compiled_subgraph
    from trtqat.inspection.inspector import parse_information

    if proof.coverage is None or proof.layers is None:
        return False
    subgraphs = {
        layer.name
        for layer in parse_information(proof.layers, "the plan")
        if is_compiled_subgraph(layer)
    }
    return bool(subgraphs) and _share_inside(proof.coverage, subgraphs) > _SHARE


def _share_inside(coverage: Coverage, subgraphs: set[str]) -> float:
    """Share of the products, by MACs where they are known, that no layer but a subgraph can run."""
    # 8.6's inspector names no layers inside a subgraph.
    inside = [
        not layer.engine_layer or layer.engine_layer in subgraphs for layer in coverage.layers
    ]
    weights = [layer.macs for layer in coverage.layers]
    counted = [1 if None in weights else weight or 0 for weight in weights]
    total = sum(counted)
    return sum(weight for weight, is_in in zip(counted, inside, strict=True) if is_in) / (
        total or 1
    )
