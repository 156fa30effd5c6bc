"""The evolutionary search against brute force."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from edgekit.search.protocol.problem import Floats
from edgekit.search.space import Genes
from edgekit.search.strategies.nsga2 import evolve

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
