"""Contexts that pay, and those that do not."""

from __future__ import annotations

import numpy as np

from edgekit.split.codec import HEADER_BYTES, Symbols, Tables
from edgekit.split.contexts import with_contexts
from edgekit.split.prior import integer_counts

N = 400


def smooth(rng: np.random.Generator) -> Symbols:
    """A channel of slopes, whose neighbours tell it, and one of noise."""
    slopes = rng.normal(0, 1.5, (2, N, 1, 1))
    rows, columns = np.indices((8, 8)) - 3.5
    first = slopes[0] * rows + slopes[1] * columns + rng.normal(0, 0.5, (N, 8, 8))
    noise = rng.normal(0, 3, (N, 8, 8))
    found: Symbols = np.rint(np.stack([first, noise], axis=1)).astype(np.int32)
    return found


def tables_of(symbols: Symbols) -> Tables:
    lowest = np.array([-20, -12], np.int32)
    counts = []
    for channel, low in enumerate(lowest):
        places = symbols[:, channel].ravel() - low
        inside = places[(places >= 0) & (places < -2 * low + 1)]
        shares = np.bincount(inside, minlength=-2 * low + 1) / places.size
        counts.append(integer_counts(shares))
    return Tables("test", (2, 8, 8), np.zeros(2, np.float32), lowest, tuple(counts))


def test_a_smooth_channel_gets_a_context_and_noise_none() -> None:
    rng = np.random.default_rng(0)
    symbols = smooth(rng)
    plain = tables_of(symbols)
    better = with_contexts(plain, symbols)
    assert [context is None for context in better.contexts] == [False, True]
    unseen = smooth(rng)[:100]
    lengths = []
    for known in (plain, better):
        frames = [known.encode(one) for one in unseen]
        for frame, one in zip(frames, unseen, strict=True):
            assert (known.decode(frame) == one).all()
        lengths.append(np.mean([len(frame) - HEADER_BYTES for frame in frames]))
    assert lengths[1] < 0.9 * lengths[0]


def test_without_anything_to_save_the_tables_stay_the_same() -> None:
    rng = np.random.default_rng(1)
    symbols = np.concatenate([smooth(rng)[:, 1:], smooth(rng)[:, 1:]], axis=1)
    plain = tables_of(symbols)
    assert with_contexts(plain, symbols) is plain


def test_a_channel_whose_size_another_one_tells_gets_a_context() -> None:
    """Noise that is loud or quiet by place, in both channels at once."""
    rng = np.random.default_rng(2)

    def drawn(n: int) -> Symbols:
        loud = rng.choice([0.1, 5.0], (n, 1, 8, 8))
        found: Symbols = np.rint(rng.normal(0, loud, (n, 2, 8, 8))).astype(np.int32)
        return found

    symbols = drawn(N)
    plain = tables_of(symbols)
    better = with_contexts(plain, symbols)
    assert [context is None for context in better.contexts] == [True, False]
    unseen = drawn(100)
    lengths = [
        np.mean([len(known.encode(one)) - HEADER_BYTES for one in unseen])
        for known in (plain, better)
    ]
    assert lengths[1] < 0.93 * lengths[0]
    assert all((better.decode(better.encode(one)) == one).all() for one in unseen)
