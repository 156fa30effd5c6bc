"""The evolutionary search against brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.search.strategies.nsga2 import Floats, Genes, evolve, fronts, order

Rows = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 2)), min_size=1, max_size=25
)


def _dominates(a: tuple[int, int, int], b: tuple[int, int, int]) -> bool:
    if a[2] != b[2]:
        return a[2] < b[2]
    return a[0] <= b[0] and a[1] <= b[1] and a[:2] != b[:2]


@given(Rows)
def test_ranks_are_those_of_fronts_peeled_off_one_by_one(
    rows: list[tuple[int, int, int]],
) -> None:
    values = np.array(rows, dtype=np.float64)
    got = fronts(values[:, :2], values[:, 2])
    left, rank = set(range(len(rows))), 0
    while left:
        best = {i for i in left if not any(_dominates(rows[j], rows[i]) for j in left)}
        assert {i for i in left if got[i] == rank} == best
        left, rank = left - best, rank + 1


@given(Rows)
def test_order_puts_lower_fronts_first(rows: list[tuple[int, int, int]]) -> None:
    values = np.array(rows, dtype=np.float64)
    ranks = fronts(values[:, :2], values[:, 2])[order(values[:, :2], values[:, 2])]
    assert (np.diff(ranks) >= 0).all()
    assert sorted(order(values[:, :2], values[:, 2])) == list(range(len(rows)))


def test_within_a_front_the_ends_and_the_lonely_come_first() -> None:
    line = np.array([0.0, 1.0, 2.0, 5.0, 9.0, 10.0])
    got = order(np.stack([line, 10 - line], axis=1), np.zeros(6)).tolist()
    assert set(got[:2]) == {0, 5}
    assert got[2:] == [3, 4, 2, 1]


N_CHOICES = (6, 6, 6, 6, 2, 2, 2, 2)
RNG = np.random.default_rng(0)
GAIN, COST = (RNG.uniform(0, 1, (len(N_CHOICES), 6)) for _ in range(2))


def _score(genes: Genes) -> tuple[Floats, Floats]:
    columns = np.arange(len(N_CHOICES))
    gain, cost = GAIN[columns, genes].sum(axis=1), COST[columns, genes].sum(axis=1)
    return np.stack([-gain, cost], axis=1), np.maximum(cost - 4.5, 0)


def _true_front() -> set[tuple[float, float]]:
    everything = np.array(list(itertools.product(*map(range, N_CHOICES))))
    objectives, violation = _score(everything)
    inside = objectives[violation == 0]
    inside = inside[np.lexsort((inside[:, 0], inside[:, 1]))]
    before = np.concatenate([[np.inf], np.minimum.accumulate(inside[:, 0])[:-1]])
    return {(x, y) for x, y in inside[inside[:, 0] < before].tolist()}


def _found(seed: int, n_generations: int) -> set[tuple[float, float]]:
    rng = np.random.default_rng(seed)
    start = np.unique(rng.integers(0, N_CHOICES, (60, len(N_CHOICES))), axis=0)
    genes, objectives, violation = evolve(
        _score, start, N_CHOICES, n_generations=n_generations, rng=rng
    )
    assert (objectives == _score(genes)[0]).all()
    return {(x, y) for x, y in objectives[violation == 0].tolist()}


@pytest.mark.parametrize("seed", range(3))
def test_most_of_the_front_of_twenty_thousand_points_is_found(seed: int) -> None:
    true, found = _true_front(), _found(seed, 100)
    print(f"{len(true & found)} of {len(true)} points of the true front")
    assert len(true & found) >= 0.7 * len(true)
    assert min(found) == min(true)


def test_equal_seeds_give_equal_searches_and_every_row_is_a_choice() -> None:
    runs = []
    for seed in (1, 1, 2):
        rng = np.random.default_rng(seed)
        start = rng.integers(0, N_CHOICES, (20, len(N_CHOICES)))
        runs.append(evolve(_score, start, N_CHOICES, n_generations=10, rng=rng)[0])
    assert runs[0].tolist() == runs[1].tolist() != runs[2].tolist()
    assert runs[0].min() >= 0
    assert (runs[0] < np.array(N_CHOICES)).all()


def test_without_generations_only_the_start_is_scored() -> None:
    start = np.zeros((1, len(N_CHOICES)), dtype=np.int64)
    genes, _, _ = evolve(_score, start, N_CHOICES, n_generations=0, rng=np.random.default_rng(0))
    assert genes.tolist() == start.tolist()


def test_a_start_outside_the_constraints_moves_inside() -> None:
    worst = COST.argmax(axis=1) % np.array(N_CHOICES)
    start = np.tile(worst, (10, 1))
    start[:, 0] = np.arange(10) % 6
    start[:, 4] = np.arange(10) // 6
    assert (_score(start)[1] > 0).all()
    rng = np.random.default_rng(0)
    _, _, violation = evolve(_score, start, N_CHOICES, n_generations=30, rng=rng)
    assert (violation == 0).any()
