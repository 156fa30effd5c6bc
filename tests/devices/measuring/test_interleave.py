"""The timing loop: order, what is kept, and marking."""

from __future__ import annotations

import gc
from collections import Counter

import numpy as np
import pytest
from numpy.typing import NDArray

from edgekit.devices.measuring.interleave import (
    N_DISCARDED,
    Item,
    RawBlock,
    interleave,
    mark_blocks,
    warm_up,
)
from edgekit.devices.measuring.reference import KERNELS, ReferenceKernels


@pytest.fixture(scope="module")
def reference() -> ReferenceKernels:
    return ReferenceKernels(n_threads=1)


def test_every_pass_runs_every_item_once_in_a_new_order(reference: ReferenceKernels):
    items = [Item(name, lambda: None, block_s=0.0) for name in "abcdef"]
    blocks = interleave(items, reference, n_passes=4, seed=0)
    passes = [tuple(block.model for block in blocks[i : i + 6]) for i in range(0, 24, 6)]
    assert all(sorted(names) == list("abcdef") for names in passes)
    assert len(set(passes)) > 1
    again = interleave(items, reference, n_passes=4, seed=0)
    assert [block.model for block in again] == [block.model for block in blocks]


def test_first_runs_are_dropped_and_at_least_three_kept(reference: ReferenceKernels):
    calls: Counter[str] = Counter()
    item = Item("a", lambda: calls.update("a"), block_s=0.0)
    (block,) = interleave([item], reference, n_passes=1, seed=0)
    assert block.durations_s.size == calls["a"] - N_DISCARDED == 3
    assert (block.durations_s > 0).all()
    assert len(block.reference_s) == len(KERNELS)


def test_a_cap_on_runs_holds(reference: ReferenceKernels):
    item = Item("profiled", lambda: None, block_s=0.05, max_runs=7)
    (block,) = interleave([item], reference, n_passes=1, seed=0)
    assert block.durations_s.size == 7


def test_progress_counts_blocks_and_garbage_collection_comes_back(reference: ReferenceKernels):
    seen: list[tuple[int, int]] = []
    item = Item("a", lambda: None, block_s=0.0)
    interleave([item], reference, n_passes=3, seed=0, progress=lambda *done: seen.append(done))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert gc.isenabled()


def test_garbage_collection_comes_back_after_an_error(reference: ReferenceKernels):
    def fail() -> None:
        raise ValueError("broken run")

    with pytest.raises(ValueError, match="broken run"):
        interleave([Item("a", fail)], reference, n_passes=1, seed=0)
    assert gc.isenabled()


def test_blocks_beside_a_slow_reference_are_marked():
    def block(at: float, factor: float) -> RawBlock:
        return RawBlock("a", at, np.full(5, 1e-3), (1e-4 * factor, 5e-5 * factor, 2e-4 * factor))

    factors = [1.0, 1.02, 1.0, 1.4, 1.3, 1.01, 1.0, 1.0]
    marked = mark_blocks([block(float(i), factor) for i, factor in enumerate(factors)])
    assert [item.marked for item in marked] == [factor > 1.2 for factor in factors]


_OUTLIERS = np.arange(7, 36_000, 50)


def _hour(factors: NDArray[np.float64]) -> list[RawBlock]:
    """Blocks every 0.1 s whose reference times scatter by 5 %, with outliers."""
    rng = np.random.default_rng(0)
    fast_s = np.array([1e-4, 5e-5, 2e-4])
    noise = np.exp(rng.normal(0, 0.05, (len(factors), 3)))
    noise[_OUTLIERS] *= 1.6
    times_s = fast_s * factors[:, None] * noise
    run_s = np.full(5, 1e-3)
    return [RawBlock("a", 0.1 * i, run_s, tuple(row)) for i, row in enumerate(times_s.tolist())]


def test_a_slow_down_of_a_tenth_is_found_within_seconds_and_little_else():
    factors = np.ones(36_000)
    quiet = np.array([block.marked for block in mark_blocks(_hour(factors))])
    assert quiet[_OUTLIERS].all()
    assert np.delete(quiet, _OUTLIERS).mean() < 0.01
    factors[18_000:] *= 1.10
    found = np.array([block.marked for block in mark_blocks(_hour(factors))])
    assert found[18_000 + 50 :].mean() > 0.99  # 5 s later
    assert np.delete(found[: 18_000 - 50], _OUTLIERS[_OUTLIERS < 18_000 - 50]).mean() < 0.01


def test_blocks_of_a_machine_slower_than_it_was_known_are_all_marked():
    blocks = [RawBlock("a", i, np.full(5, 1e-3), (1e-4, 5e-5, 2e-4)) for i in range(6)]
    assert not any(item.marked for item in mark_blocks(blocks))
    assert all(item.marked for item in mark_blocks(blocks, (8e-5, 4e-5, 1.6e-4)))


def test_warm_up_runs_until_steady_or_the_cap():
    calls: Counter[str] = Counter()
    n_runs = warm_up(Item("a", lambda: calls.update("a")))
    assert n_runs == calls["a"] >= 20
