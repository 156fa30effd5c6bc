"""What nothing else beats, and how much of a box that beats."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgekit.search.protocol.problem import Floats

_N_PIVOTS = 24


def non_dominated(values: Floats) -> NDArray[np.bool_]:
    """Whether each row is beaten by no other: nowhere worse and somewhere better.

    A few rows that are small in every column throw out nearly all others; what is left is compared
    by moocore's sweep. Equal rows stay or go together.

    Args:
        values: ``(n, m)`` float64, all to be small; finite.

    Returns:
        ``(n,)`` bool.
    """
    import moocore

    result = np.zeros(len(values), dtype=np.bool_)
    left = np.arange(len(values))
    scale = np.maximum(values.max(axis=0) - values.min(axis=0), 1e-300)
    columns = np.ascontiguousarray(((values - values.min(axis=0)) / scale).T)
    for weights in _weights(values.shape[1]):
        if not len(left):
            return result
        pivot = columns[:, int(np.argmin(weights @ columns))]
        beaten = (columns >= pivot[:, None]).all(axis=0) & (columns != pivot[:, None]).any(axis=0)
        left, columns = left[~beaten], columns[:, ~beaten]
    result[left] = moocore.is_nondominated(values[left], keep_weakly=True)
    return result


def hypervolume(values: Floats, reference: Floats) -> float:
    """Share of the box from 0 to a reference that some row beats, 0..1.

    Args:
        values: ``(n, m)`` float64, all to be small, 0 or more; rows outside the box add nothing.
        reference: ``(m,)`` above 0, fixed before a search: shares of other boxes do not compare.
    """
    import moocore

    shares = np.maximum(values / reference, 0.0)
    inside = shares[(shares < 1).all(axis=1)]
    return float(moocore.hypervolume(inside, ref=np.ones(len(reference)))) if len(inside) else 0.0


def gains(values: Floats, known: Floats, reference: Floats) -> Floats:
    """Area of the box from 0 to a reference that each row beats and no known row does, ``(n,)``.

    Args:
        values: ``(n, 2)`` float64, both to be small.
        known: ``(m, 2)``, m may be 0.
        reference: ``(2,)``.
    """
    inside = known[(known < reference).all(axis=1)]
    inside = inside[np.lexsort((inside[:, 0], inside[:, 1]))]
    lowest = np.minimum.accumulate(inside[:, 0])
    is_step = np.diff(lowest, prepend=reference[0]) < 0
    ends = np.concatenate([[-np.inf], inside[is_step, 1], [reference[1]]])
    heights = np.concatenate([[reference[0]], lowest[is_step]])
    found = np.zeros(len(values))
    for start, end, height in zip(ends[:-1], ends[1:], heights, strict=True):
        width = (end - np.maximum(values[:, 1], start)).clip(min=0)
        found += width * (height - values[:, 0]).clip(min=0)
    return found


def _weights(m: int) -> Floats:
    """Directions ``(pivots, m)`` to look for small rows in; the first is equal weights."""
    drawn = np.random.default_rng(0).dirichlet(np.ones(m), _N_PIVOTS - 1)
    return np.concatenate([np.full((1, m), 1 / m), drawn])
