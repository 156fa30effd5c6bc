"""What strategies are given and give back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgekit.core.candidate import Candidate
from edgekit.core.limits import Limits
from edgekit.search.mbconv.space import MBConvSpace
from edgekit.search.protocol.problem import Objective, Observed, fresh
from tests.search.synthetic import TINY, formula_problem, formula_table

SPACE = MBConvSpace(TINY)


def test_fresh_candidates_are_distinct_new_and_in_order() -> None:
    genes = np.array([[0, 1], [2, 3], [0, 1], [4, 5], [6, 7]])
    history = [Observed(Candidate((2, 3)), (0.5, 1.0, 1.0))]
    expected = [Candidate((0, 1)), Candidate((4, 5)), Candidate((6, 7))]
    assert fresh(genes, history, 9) == expected
    assert fresh(genes, history, 2) == expected[:2]
    assert fresh(genes, history, 0) == fresh(genes, history, -1) == []
    assert all(type(gene) is int for gene in fresh(genes, [], 1)[0].genes)


def test_margins_are_relative_to_each_limit() -> None:
    problem, table = formula_problem(limits=Limits(2e-4, 300_000)), formula_table(SPACE)
    genes = SPACE.sample(50, np.random.default_rng(0))
    margins = problem.margins(genes)
    assert (margins[:, 0] == -1).all()
    np.testing.assert_allclose(margins[:, 1], (table.latencies_s(genes) - 2e-4) / 2e-4)
    np.testing.assert_allclose(margins[:, 2], (table.sizes_bytes(genes) - 3e5) / 3e5)
    assert (formula_problem().margins(genes) == -1).all()


def test_predictions_are_corrected_by_what_was_evaluated() -> None:
    problem = formula_problem()
    genes = SPACE.sample(6, np.random.default_rng(0))
    history = [
        Observed(Candidate(tuple(row)), (0.5, 1.25 * cost[1], 0.9 * cost[2]))
        for row, cost in zip(genes.tolist(), problem.costs(genes), strict=True)
    ]
    history.append(Observed(SPACE.largest(), None))
    predicted, costs = problem.predicted(genes, history), problem.costs(genes)
    np.testing.assert_allclose(predicted[:, 1:], costs[:, 1:] * [1.25, 0.9])
    assert np.isnan(predicted[:, 0]).all()


def test_limits_are_on_what_was_evaluated() -> None:
    problem = replace(formula_problem(), objectives=(Objective("error"), Objective("s", 2.0)))
    inside, slow, failed = (
        Observed(SPACE.largest(), values) for values in ((0.5, 2.0), (0.1, 2.1), None)
    )
    assert [problem.keeps(entry) for entry in (inside, slow, failed)] == [True, False, False]
    assert problem.best([failed, slow, inside]) == inside
    assert problem.best([failed, slow]) is None


def test_randomness_depends_on_the_seed_and_on_what_is_done() -> None:
    first, second = formula_problem(seed=1), formula_problem(seed=2)
    assert first.rng(10).random() == first.rng(10).random()
    assert first.rng(10).random() != first.rng(20).random()
    assert first.rng(10).random() != second.rng(10).random()
