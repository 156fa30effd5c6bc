"""RoBoT: mixing metrics, then walking down the ranking."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgekit.core.candidate import Candidate
from edgekit.core.errors import InputError
from edgekit.core.limits import Limits
from edgekit.search.protocol.problem import SearchProblem, genes_of
from edgekit.search.strategies.random import RandomStrategy
from edgekit.search.strategies.robot import RobotStrategy, by_extremes, by_rank
from tests.search.synthetic import best_top1, formula_problem, searched, with_scores

OURS = RobotStrategy(by_rank, begins_equal=True, learns_noise=True)


def problem(seed: int = 0, limits: Limits | None = None) -> SearchProblem:
    return with_scores(formula_problem(seed, limits, n_evaluations=12, population=4), 500)


def test_metrics_are_scaled_over_the_pool_and_gaps_add_nothing() -> None:
    values = np.array([[1.0, np.nan, 5.0], [3.0, 1e30, 5.0], [2.0, 1.0, 5.0]])
    np.testing.assert_allclose(by_extremes(values), [[0, 0, 0], [1, 1, 0], [0.5, 0, 0]])
    ranks = by_rank(values)
    np.testing.assert_allclose(ranks[:, 0], [0, 1, 0.5])
    np.testing.assert_allclose(ranks[:, 1], [0, 1, 0.5])
    np.testing.assert_allclose(by_extremes(np.full((3, 1), np.nan)), 0)


@pytest.mark.parametrize("strategy", [RobotStrategy(), OURS], ids=["published", "ours"])
def test_only_distinct_evaluations_count(strategy: RobotStrategy) -> None:
    history = searched(strategy, problem())
    assert len({entry.candidate for entry in history}) == len(history) == 12


def test_what_is_left_goes_down_the_ranking_of_the_best_mix() -> None:
    """With one metric every mix of a positive weight has one ranking."""
    given = problem()
    assert given.scores
    one = replace(given.scores, names=("good",), values=given.scores.values[:, 1:2])
    history = searched(RobotStrategy(lowest_weight=0.01), replace(given, scores=one))
    ranking = given.scores.genes[np.argsort(-one.values[:, 0], kind="stable")]
    assert genes_of(history).tolist() == ranking[:12].tolist()


@pytest.mark.parametrize("seed", range(3))
def test_it_finds_the_metric_that_is_right_and_turns_the_one_that_is_not(seed: int) -> None:
    given = problem(seed)
    assert given.scores
    best, drawn = (
        best_top1(given, searched(s, given)) for s in (RobotStrategy(), RandomStrategy())
    )
    assert best > drawn


def test_equal_weights_come_first_where_that_is_asked_for() -> None:
    given = problem()
    assert given.scores
    mixed = by_rank(given.scores.values).sum(axis=1)
    (first,) = OURS.ask(given, [])
    assert first.genes == tuple(given.scores.genes[int(np.argmax(mixed))].tolist())


def test_only_what_is_predicted_inside_is_mixed() -> None:
    given = problem(limits=Limits(2e-4, 200_000))
    assert given.scores
    n_inside = int((given.margins(given.scores.genes) <= 0).all(axis=1).sum())
    assert 12 < n_inside < len(given.scores.genes)
    genes = genes_of(searched(RobotStrategy(), given))
    assert (given.margins(genes) <= 0).all()
    assert {tuple(row) for row in genes.tolist()} <= {
        tuple(r) for r in given.scores.genes.tolist()
    }


def test_without_metrics_it_says_what_is_missing() -> None:
    with pytest.raises(InputError, match="robot chooses by training-free metrics"):
        RobotStrategy().ask(formula_problem(), [])


def test_candidates_are_plain_integers() -> None:
    (candidate,) = RobotStrategy().ask(problem(), [])
    assert candidate == Candidate(tuple(int(gene) for gene in candidate.genes))
    assert all(type(gene) is int for gene in candidate.genes)
