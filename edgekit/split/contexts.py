"""A better prior: what lies around a symbol tells its table.

tables of a factorised prior + latents of training images --> tables with contexts

Neighbours of a latent are alike where its channel is a mean of pixels. A second quarter of the
places is coded by the mean of the four corners around, the other half by that of the four sides:
three steps, each at once, where a prior that goes from place to place takes one for each. Tables
are counted, not learnt, and are integers like all others. Ours; checkerboards of two steps are He
et al.'s (2021, arXiv 2103.15306), who learn them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgekit.split.codec import PRECISION, Context, Symbols, Tables, levels, means
from edgekit.split.prior import integer_counts

_N_CLASSES, _PRIOR_WEIGHT = 8, 8.0
_FITTED = 0.75
"""Share of the images that counts are taken of; the others tell whether a context pays."""
_LEAST_GAIN_BITS = 2.0


def with_contexts(tables: Tables, symbols: Symbols) -> Tables:
    """Contexts for those channels where they save two bits an image or more.

    Args:
        tables: without contexts.
        symbols: ``(n, channels, height, width)`` of training images, some hundreds at least.
    """
    n, channels = symbols.shape[:2]
    flat = symbols.reshape(n, channels, -1) - tables.lowest[:, None]
    contexts: list[Context | None] = []
    for channel, counts in enumerate(tables.counts):
        n_known = len(counts) - 1
        places = flat[:, channel]
        places = np.where((places < 0) | (places >= n_known), n_known, places)
        contexts.append(_context(places, counts, tables.shape[1:]))
    if not any(contexts):
        return tables
    return Tables(
        tables.model, tables.shape, tables.medians, tables.lowest, tables.counts, tuple(contexts)
    )


def _context(
    places: NDArray[np.int64], counts: NDArray[np.int64], shape: tuple[int, int]
) -> Context | None:
    """Of one channel ``(n, height * width)``; None where it does not pay."""
    found, wanted = [], []
    for positions, around, n_around in levels(*shape):
        if n_around.any():
            found.append(np.stack([means(row, around, n_around) for row in places]))
            wanted.append(places[:, positions])
    if not found:
        return None
    values, symbols = np.concatenate(found, axis=1), np.concatenate(wanted, axis=1)
    n_fitted = int(_FITTED * len(values))
    shares = np.arange(1, _N_CLASSES) / _N_CLASSES
    thresholds = np.unique(np.quantile(values[:n_fitted], shares).astype(np.int64))
    classes = np.searchsorted(thresholds, values, "right")
    plain, n_classes = counts / 2**PRECISION, len(thresholds) + 1
    seen = np.zeros((n_classes, len(counts)))
    np.add.at(seen, (classes[:n_fitted].ravel(), symbols[:n_fitted].ravel()), 1)
    probable = seen + _PRIOR_WEIGHT * plain
    probable /= probable.sum(axis=1, keepdims=True)
    judged = symbols[n_fitted:]
    with_context = np.log2(probable[classes[n_fitted:], judged])
    gain_bits = float((with_context - np.log2(plain[judged])).sum(axis=1).mean())
    if gain_bits < _LEAST_GAIN_BITS:
        return None
    return Context(thresholds, tuple(integer_counts(row[:-1]) for row in probable))
