"""A better prior: what was coded before a symbol tells its table.

tables of a factorised prior + latents of training images --> tables with contexts

Two things are known of a symbol before it is read. What lies around it: a quarter of the places of
a channel is coded first, a second quarter by the mean of the four corners around, the other half
by that of the four sides: three steps, each at once, where a prior that goes from place to place
takes one for each. And how much goes on there: sizes in the channels before, at the same place,
and around tell its size, as least squares weigh them. Tables are counted, not learnt; they and the
weights are integers. Ours. Checkerboards of two steps are He et al.'s (2021, arXiv 2103.15306),
who learn theirs; sizes that tell sizes are as old as Shapiro's zero trees (1993).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.split.codec import MAX_SYMBOL, PRECISION, Context, Symbols, Tables, levels, sizes
from edgekit.split.codec import means as means_around
from edgekit.split.prior import integer_counts

_CLASSES = ((1, 16), (8, 8))
"""Classes of means and of sizes that are tried."""
_PRIOR_WEIGHT, _SCALE, _MOST_ROWS = 8.0, 2**12, 2**18
_FITTED = 0.75
"""Share of the images that counts are taken of; the others tell whether a context pays."""
_LEAST_GAIN_BITS = 2.0


@dataclass(frozen=True)
class _Channel:
    """What is known of a channel in many images.

    Attributes:
        symbols: ``(n, height * width)``.
        places: of these in the table.
        before: ``(n, channels before, height * width)`` sizes; float64, in which their weighted
            sums are exact and fast.
    """

    symbols: NDArray[np.int64]
    places: NDArray[np.int64]
    before: NDArray[np.float64]


def with_contexts(tables: Tables, symbols: Symbols) -> Tables:
    """Contexts for those channels where they save two bits an image or more.

    Args:
        tables: without contexts.
        symbols: ``(n, channels, height, width)`` of training images, some hundreds at least.
    """
    n, n_channels = symbols.shape[:2]
    flat = symbols.reshape(n, n_channels, -1) - tables.lowest[:, None]
    known = np.array([len(counts) - 1 for counts in tables.counts])[:, None]
    places = np.where((flat < 0) | (flat >= known), known, flat).astype(np.int64)
    seen = places + tables.lowest[:, None]
    every, contexts = sizes(seen).astype(np.float64), list[Context | None]()
    for index, counts in enumerate(tables.counts):
        channel = _Channel(seen[:, index], places[:, index], every[:, :index])
        contexts.append(_context(channel, counts, tables.shape[1:]))
    if not any(contexts):
        return tables
    return Tables(
        tables.model, tables.shape, tables.medians, tables.lowest, tables.counts, tuple(contexts)
    )


def _context(
    channel: _Channel, counts: NDArray[np.int64], shape: tuple[int, int]
) -> Context | None:
    """The best of a channel; None where none pays."""
    weights = _weights(channel, shape)
    n_fitted = int(_FITTED * len(channel.symbols))
    best, best_gain_bits = None, 0.0
    for n_means, n_sizes in _CLASSES:
        found = _counted(channel, counts, shape, weights, (n_means, n_sizes), n_fitted)
        gain_bits = _gain_bits(found, channel, counts, shape, n_fitted)
        if gain_bits >= best_gain_bits + _LEAST_GAIN_BITS:
            best, best_gain_bits = found, gain_bits
    return best


def _weights(channel: _Channel, shape: tuple[int, int]) -> NDArray[np.int64]:
    """As ``Context`` has them: least squares of sizes, in steps of ``1 / _SCALE``."""
    own, n_before = sizes(channel.symbols), channel.before.shape[1]
    found = np.zeros((2, n_before + 2), np.int64)
    some = slice(max(1, _MOST_ROWS // own.shape[1]))
    for kind in (0, 1):
        rows, wanted = [], []
        for level in levels(*shape):
            if level.kind == kind:
                near = means_around(own[some], level)[:, None]
                fixed = np.ones_like(near)
                parts = [channel.before[some][:, :, level.positions], near, fixed]
                rows.append(np.concatenate(parts, axis=1).transpose(0, 2, 1))
                wanted.append(own[some][:, level.positions])
        if rows:
            x = np.concatenate(rows, axis=1).reshape(-1, n_before + 2).astype(np.float64)
            y = np.concatenate(wanted, axis=1).ravel()
            some_more = 1e-6 * len(x) * np.eye(x.shape[1])  # channels may be all zeros
            solved = np.linalg.solve(x.T @ x + some_more, x.T @ y)
            limits = -MAX_SYMBOL, MAX_SYMBOL
            found[kind] = np.rint(_SCALE * solved).clip(*limits).astype(np.int64)
    return found


def _counted(
    channel: _Channel,
    counts: NDArray[np.int64],
    shape: tuple[int, int],
    weights: NDArray[np.int64],
    n_classes: tuple[int, int],
    n_fitted: int,
) -> Context:
    """Thresholds that split what is fitted evenly, and counts of the classes between them."""
    nothing = np.zeros(0, np.int64)
    sketch = Context(nothing, nothing, weights, (counts,))
    expected = sketch.expected(channel.before[:n_fitted])
    own, symbols = sizes(channel.symbols[:n_fitted]), channel.symbols[:n_fitted]
    found_sizes, found_means = [], []
    for level in levels(*shape):
        near = weights[level.kind, -2] * means_around(own, level)
        found_sizes.append((expected[:, level.kind, level.positions] + near).ravel())
        if level.kind:
            found_means.append(means_around(symbols, level).ravel())
    context = Context(
        _even(found_means, n_classes[0]), _even(found_sizes, n_classes[1]), weights, (counts,)
    )
    n = (len(context.means) + 1) * (len(context.sizes) + 1)
    seen = np.zeros((n, len(counts)))
    for level in levels(*shape):
        classes = context.classes(symbols, expected, level)
        np.add.at(seen, (classes, channel.places[:n_fitted, level.positions]), 1)
    probable = seen + _PRIOR_WEIGHT * counts / 2**PRECISION
    probable /= probable.sum(axis=1, keepdims=True)
    rows = tuple(integer_counts(row[:-1]) for row in probable)
    return Context(context.means, context.sizes, weights, rows)


def _even(values: list[NDArray[np.int64]], n_classes: int) -> NDArray[np.int64]:
    """Thresholds between classes of about as many values each."""
    if not values or n_classes == 1:
        return np.zeros(0, np.int64)
    shares = np.arange(1, n_classes) / n_classes
    found: NDArray[np.int64] = np.unique(np.quantile(np.concatenate(values), shares).astype(int))
    return found


def _gain_bits(
    context: Context,
    channel: _Channel,
    counts: NDArray[np.int64],
    shape: tuple[int, int],
    n_fitted: int,
) -> float:
    """What an image that was not counted takes less than with one table."""
    expected = context.expected(channel.before[n_fitted:])
    rows, total = np.log2(context.rows), 0.0
    plain = np.log2(counts.astype(np.float64))
    for level in levels(*shape):
        classes = context.classes(channel.symbols[n_fitted:], expected, level)
        places = channel.places[n_fitted:, level.positions]
        total += float((rows[classes, places] - plain[places]).sum())
    return total / max(1, len(channel.symbols) - n_fitted)
