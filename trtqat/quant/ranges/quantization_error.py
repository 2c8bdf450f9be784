"""The squared error that INT8 makes of the values of a histogram, for many ranges at once.

Within a bin the values are taken to lie evenly. Then the error of a bin is an integral that has a
closed form. With u = |x| / step and k = round(u), the rounding error of all values from 0 to u has
the integral (k + 4·(u - k)³) / 12. Beyond the range it is that of (|x| - amax)².
"""

from __future__ import annotations

import functools

import torch

from trtqat.quant.ranges.histogram import BINS_PER_OCTAVE, Bins, MagnitudeHistogram, power_of_two

# Symmetric: -128 is not counted on.
LEVELS = 127

# Elements of a table that is made at once.
_CHUNK = 2**18

# 2**8 steps: values that are further below a range than these octaves all round to zero.
_OCTAVES_BELOW = 8

# Of 512 edges in an octave, every fourth is a threshold on the grid: steps of 0.4 to 0.8 %.
_EVERY = 4


def squared_error(bins: Bins, amaxes: torch.Tensor) -> torch.Tensor:
    """The expected sum of squared errors for each of some ranges.

    Args:
        bins: Of a histogram.
        amaxes: Float64 ``(N,)``, none negative. Of a range of 0 all values become 0.

    Returns:
        Float64 ``(N,)``.
    """
    density = bins.counts / bins.edges.diff()
    pieces = _pieces(amaxes, len(bins.edges))
    return torch.cat([_integral(bins.edges, each).diff() @ density for each in pieces])


def energy(bins: Bins) -> float:
    """The expected sum of the squared values."""
    return float(squared_error(bins, torch.zeros(1, dtype=torch.float64)))


def grid_errors(histogram: MagnitudeHistogram) -> tuple[torch.Tensor, torch.Tensor]:
    """The expected squared errors for ranges of all magnitudes that the histogram holds.

    The errors of an octave's ranges are one product of a matrix with the bins around it, and the
    matrix is the same for all octaves and histograms.

    Returns:
        The ranges and their errors, float64 ``(N,)`` each. A range may be a bin too large.
    """
    first, counts = histogram.octaves()
    octaves = len(counts)
    scale = power_of_two(torch.arange(first, first + octaves))[:, None]
    relative = _grid()
    amaxes = scale * relative
    padded = torch.cat([counts.new_zeros(_OCTAVES_BELOW, BINS_PER_OCTAVE), counts])
    around = padded.unfold(0, _OCTAVES_BELOW + 1, 1).transpose(1, 2).reshape(octaves, -1)
    within = around @ _octave_errors().T * scale**2
    zeroth, first_moment, second = _moments(first, counts)
    # Octaves above the range are beyond it as a whole; those far below it all become zero.
    beyond = _after(second) - 2 * amaxes * _after(first_moment) + amaxes**2 * _after(zeroth)
    below = second.cumsum(0)
    vanished = torch.cat([below.new_zeros(_OCTAVES_BELOW + 1, 1), below])[:octaves]
    return amaxes.flatten(), (within + beyond + vanished).flatten()


def _pieces(amaxes: torch.Tensor, edges: int) -> list[torch.Tensor]:
    """Ranges ``(N, 1)``, so many at once as make a chunk with all edges."""
    size = max(1, _CHUNK // edges)
    return [amaxes[start : start + size, None] for start in range(0, len(amaxes), size)]


def _integral(edges: torch.Tensor, amaxes: torch.Tensor) -> torch.Tensor:
    """The squared error of values that lie evenly from 0 to each edge, one a unit of length.

    Edges ``(M,)`` and ranges ``(N, 1)`` give ``(N, M)``.
    """
    step = amaxes / LEVELS
    units = (edges / step).clamp_(max=LEVELS)
    code = units.round()
    rounding = units.sub_(code).pow_(3).mul_(4).add_(code).mul_(step**3 / 12)
    return rounding.add_((edges - amaxes).clamp_(min=0).pow_(3).div_(3))


def _grid() -> torch.Tensor:
    """The ranges of the octave from 1 to 2."""
    return 1 + torch.arange(_EVERY, BINS_PER_OCTAVE + 1, _EVERY).double() / BINS_PER_OCTAVE


@functools.lru_cache(maxsize=1)
def _octave_errors() -> torch.Tensor:
    """The mean squared error of each bin up to the octave from 1 to 2, for each of its ranges."""
    octaves = torch.arange(-_OCTAVES_BELOW, 1)[:, None]
    steps = 1 + torch.arange(BINS_PER_OCTAVE).double() / BINS_PER_OCTAVE
    edges = torch.cat(
        [(power_of_two(octaves) * steps).flatten(), torch.full((1,), 2.0, dtype=torch.float64)]
    )
    pieces = _pieces(_grid(), len(edges))
    return torch.cat([_integral(edges, each).diff() / edges.diff() for each in pieces])


def _moments(first: int, counts: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Number, sum, and sum of squares of each octave's values: ``(octaves, 1)`` each."""
    width = 1 / BINS_PER_OCTAVE
    middle = 1 + (torch.arange(BINS_PER_OCTAVE).double() + 0.5) * width
    moments = torch.stack([torch.ones_like(middle), middle, middle**2 + width**2 / 12])
    scale = power_of_two(torch.arange(first, first + len(counts)))[:, None]
    zeroth, first_moment, second = (counts @ moments.T)[..., None].unbind(1)
    return zeroth, first_moment * scale, second * scale**2


def _after(values: torch.Tensor) -> torch.Tensor:
    """For each row the sum of all rows behind it."""
    behind = torch.cat([values[1:], values.new_zeros(1, values.shape[1])])
    return behind.flip(0).cumsum(0).flip(0)
