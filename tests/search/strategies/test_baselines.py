"""The baselines do what their papers say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgekit.core.errors import InputError
from edgekit.core.limits import Limits
from edgekit.search.mbconv.space import MBConvRecipe, Stage
from edgekit.search.protocol.pareto import non_dominated
from edgekit.search.protocol.pool import enumerated, neighbours
from edgekit.search.protocol.problem import Observed, Strategy, genes_of, values_of
from edgekit.search.strategies.bayes import BayesStrategy
from edgekit.search.strategies.evolution import EvolutionStrategy
from edgekit.search.strategies.exhaustive import ExhaustiveStrategy
from edgekit.search.strategies.local import LocalSearchStrategy
from edgekit.search.strategies.nsga2 import NSGA2Strategy
from edgekit.search.strategies.random import RandomStrategy
from edgekit.search.strategies.samplers import SamplerStrategy, tpe
from tests.search.synthetic import best_top1, formula_problem, searched, top1_of

SMALL = MBConvRecipe(32, 10, 16, 2, 16, (Stage(32, 2, 2),), 64)


def test_exhaustive_search_finds_the_optimum_inside() -> None:
    limits = Limits(6e-5, 30_000)
    problem = formula_problem(limits=limits, recipe=SMALL, n_evaluations=10_000, population=500)
    genes = np.concatenate(list(enumerated(problem.space)))
    history = searched(ExhaustiveStrategy(), problem)
    assert len(history) == len(genes)
    n_inside = int((problem.margins(genes) <= 0).all(axis=1).sum())
    assert [problem.keeps(entry) for entry in history] == [True] * n_inside + [False] * (
        len(genes) - n_inside
    )
    latencies_s = problem.costs(genes_of(history[:n_inside]))[:, 1]
    assert (np.diff(latencies_s) <= 0).all()


def test_where_the_first_objective_is_known_the_smallest_comes_first() -> None:
    problem = formula_problem(recipe=SMALL, n_evaluations=5, population=5)
    known = replace(problem, costs=lambda genes: problem.costs(genes)[:, [1, 2, 2]])
    (best, *_) = ExhaustiveStrategy().ask(known, [])
    genes = np.concatenate(list(enumerated(problem.space)))
    assert best.genes == tuple(genes[known.costs(genes)[:, 0].argmin()].tolist())


def test_a_space_too_large_to_list_is_refused() -> None:
    problem = formula_problem(recipe=MBConvRecipe.for_task(224, 10))
    with pytest.raises(InputError, match="exhaustive search lists at most 10,000,000 networks"):
        ExhaustiveStrategy().ask(problem, [])


def test_children_of_evolution_differ_in_one_gene_from_one_of_the_young() -> None:
    problem = formula_problem(n_evaluations=40, population=1)
    history = searched(EvolutionStrategy(n_alive=8, n_in_tournament=3), problem)
    for index in range(8, 40):
        child, young = history[index].candidate, history[index - 8 : index]
        near = [neighbours(problem.space, entry.candidate).tolist() for entry in young]
        assert any(list(child.genes) in rows for rows in near)
    assert np.mean([top1_of(e) for e in history[-10:]]) > np.mean(
        [top1_of(e) for e in history[:8]]
    )


def test_local_search_moves_to_the_best_neighbour_and_stops_where_there_is_none() -> None:
    problem = formula_problem(recipe=SMALL, n_evaluations=60, population=100)
    history = searched(LocalSearchStrategy(), problem)
    start = history[0].candidate
    near = neighbours(problem.space, start).tolist()
    first = history[1 : 1 + len(near)]
    assert sorted(list(e.candidate.genes) for e in first) == sorted(near)
    best = max([history[0], *first], key=top1_of)
    assert best.candidate != start
    following = history[1 + len(near)].candidate
    assert list(following.genes) in neighbours(problem.space, best.candidate).tolist()


@pytest.mark.parametrize(
    ("strategy", "n_evaluations"),
    [
        (EvolutionStrategy(), 30),
        (LocalSearchStrategy(), 30),
        (SamplerStrategy(tpe), 30),
        (BayesStrategy(), 25),
    ],
    ids=lambda s: type(s).__name__,
)
def test_they_beat_chance(strategy: Strategy, n_evaluations: int) -> None:
    """In the mean of two seeds, with a limit."""
    found, drawn = [], []
    for seed in range(2):
        problem = formula_problem(seed, Limits(2.2e-4), n_evaluations, population=1)
        found.append(best_top1(problem, searched(strategy, problem)))
        drawn.append(best_top1(problem, searched(RandomStrategy(), problem)))
    print(f"{np.mean(found):.4f} to {np.mean(drawn):.4f}")
    assert np.mean(found) > np.mean(drawn)


def test_nsga2_pushes_the_front() -> None:
    """Error, latency and size together; it needs more evaluations than the others."""
    problem = formula_problem(0, n_evaluations=120, population=10)
    history = searched(NSGA2Strategy(), problem)
    front = values_of(history)[non_dominated(values_of(history))]
    drawn = values_of(searched(RandomStrategy(), problem))
    beaten = [(front <= row).all(axis=1).any() for row in drawn]
    print(f"{np.mean(beaten):.0%} of the drawn are beaten by its front")
    assert np.mean(beaten) > 0.7


def test_bayes_learns_from_what_did_not_fail() -> None:
    asked_top1, drawn_top1 = [], []
    for seed in range(3):
        problem = formula_problem(seed, n_evaluations=80, population=4)
        drawn = RandomStrategy().ask(replace(problem, population=60), [])
        history = [
            Observed(c, problem.evaluate(c) if i % 3 else None) for i, c in enumerate(drawn)
        ]
        asked = BayesStrategy().ask(problem, history)
        assert len(asked) == 4
        asked_top1 += [1 - problem.evaluate(candidate)[0] for candidate in asked]
        drawn_top1 += [1 - problem.evaluate(candidate)[0] for candidate in drawn]
    print(f"{np.mean(asked_top1):.4f} to {np.mean(drawn_top1):.4f}")
    assert np.mean(asked_top1) > np.mean(drawn_top1) + np.std(drawn_top1)
