"""All recipes, and the one for a host."""

from __future__ import annotations

from trtqat.host.recipes.boards import JETSON, WINDOWS, WSL2
from trtqat.host.recipes.cards import GPU_SERVER, NO_GPU, RTX_CARD
from trtqat.host.recipes.containers import NVIDIA_CONTAINER, TRITON_CONTAINER
from trtqat.host.recipes.recipe import Recipe
from trtqat.host.surroundings import HostKind

# In the order of the page.
RECIPES: tuple[Recipe, ...] = (
    RTX_CARD,
    NVIDIA_CONTAINER,
    GPU_SERVER,
    JETSON,
    WINDOWS,
    WSL2,
    TRITON_CONTAINER,
    NO_GPU,
)


def recipe_for(kind: HostKind) -> Recipe:
    """The recipe of a kind of host, of which each has one.

    Args:
        kind: As ``find_kind`` tells it.
    """
    return next(each for each in RECIPES if each.kind == kind)
