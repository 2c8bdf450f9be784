"""The warning about one profile for many batches, where that is known to cost time.

TensorRT 8.6 compiles transformers into subgraphs that are slower for a range of batches than for
one: on an H100 and 8.6.0, a ViT-S/16 at batch 32 takes 2.730 ms with 1:32:32, and 1.848 ms with
32:32:32. Convolutional networks lose little: ResNet-50 takes 0.790 ms with 1:128:512, and 0.737 ms
with 32:32:32.
"""

from __future__ import annotations

import logging
from pathlib import Path

from trtqat.building.proof import Proof
from trtqat.plan.coverage import Coverage
from trtqat.plan.manifest import Manifest
from trtqat.plan.profiles import batches_of

_LOG = logging.getLogger(__name__)

_VERSION = "8.6."
# Share of the products from which a network is one of compiled subgraphs.
_SHARE = 0.5


def warn_of_wide_profile(plan: Path, manifest: Manifest, proof: Proof) -> None:
    """Warns of a plan whose one profile is for several batches, if its subgraphs lose by that.

    Args:
        plan: The plan, for the message.
        manifest: What was built.
        proof: Its layers, as far as they are known.
    """
    batches = batches_of(manifest.profiles)
    is_known = manifest.library == "tensorrt" and manifest.tensorrt.startswith(_VERSION)
    if manifest.more_profiles or batches.is_static or not is_known or not _is_compiled(proof):
        return
    sizes = dict.fromkeys((batches.min, batches.opt, batches.max))
    _LOG.warning(
        "'%s' has one profile for batches %d to %d, and TensorRT %s runs the subgraphs that it "
        "compiles, as those of transformers, slower by such a one: a ViT-S/16 took 2.730 ms at "
        "batch 32 with --batch 1:32:32, and 1.848 ms with 32:32:32. Build it with --batch %s,%s: "
        "a profile for each size, and one for those between.",
        plan,
        batches.min,
        batches.max,
        manifest.tensorrt,
        ",".join(map(str, sizes)),
        batches,
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
