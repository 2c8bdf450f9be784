"""Normalisations of every kind, for tests that draw them."""

from __future__ import annotations

from hypothesis import strategies as st

from trtqat.pixels import LAYOUTS, Layout, Pixels


def numbers(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False)


@st.composite
def any_pixels(draw: st.DrawFn, layouts: tuple[Layout, ...] = LAYOUTS) -> Pixels:
    scale = draw(st.sampled_from([1.0, 255.0, 256.0, 127.5, 3.7]) | numbers(0.5, 300))
    # Normalised as models are trained: of the size of 1, whatever the bytes are divided by.
    size = 255 / scale
    return Pixels(
        draw(st.sampled_from(layouts)),
        tuple(draw(numbers(-2, 2)) * size for _ in range(draw(st.sampled_from([1, 3])))),
        tuple(draw(numbers(0.02, 4)) * size for _ in range(draw(st.sampled_from([1, 3])))),
        scale,
        draw(st.booleans()),
    )
