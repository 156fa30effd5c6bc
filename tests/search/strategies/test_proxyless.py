"""The most probable networks at the limits."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgekit.core.errors import InputError
from edgekit.core.limits import Limits
from edgekit.search.nb201.space import NB201Space
from edgekit.search.protocol.loop import search
from edgekit.search.protocol.problem import Scores
from edgekit.search.strategies import STRATEGIES, check_strategy
from edgekit.search.strategies.proxyless import ProxylessStrategy
from tests.search.synthetic import formula_problem


def test_the_most_probable_within_two_per_cent_of_the_limit_comes_first() -> None:
    problem = formula_problem(0, Limits(2e-4), n_evaluations=4, population=1)
    genes = problem.space.sample(3000, np.random.default_rng(0))
    worth = np.random.default_rng(1).standard_normal((len(genes), 1))
    problem = replace(problem, scores=Scores(genes, ("log_probability",), worth))
    history = list(search(problem, ProxylessStrategy()))
    shares = problem.costs(genes)[:, 1] / 2e-4
    near = (shares <= 1) & (shares > 0.98)
    best = genes[near][worth[near, 0].argmax()]
    assert history[0].candidate.genes == tuple(best)


def test_what_was_slower_than_predicted_moves_the_next_one() -> None:
    problem = formula_problem(0, Limits(2e-4), n_evaluations=3, population=1)
    genes = problem.space.sample(3000, np.random.default_rng(0))
    scores = Scores(genes, ("log_probability",), np.zeros((len(genes), 1)))

    def slower(candidate: object) -> tuple[float, ...]:
        error, latency_s, size = exact(candidate)  # type: ignore[arg-type]
        return error, 1.1 * latency_s, size

    exact = problem.evaluate
    history = list(search(replace(problem, scores=scores, evaluate=slower), ProxylessStrategy()))
    latencies = [entry.values[1] for entry in history if entry.values]
    assert latencies[0] > 2e-4
    assert all(0.97 * 2e-4 < latency <= 2e-4 * 1.001 for latency in latencies[1:])


def test_it_needs_probabilities_and_weights_of_its_own() -> None:
    with pytest.raises(InputError, match="the problem has none"):
        STRATEGIES["proxyless"].ask(formula_problem(), [])
    with pytest.raises(InputError, match="which is mbconv, got nb201"):
        check_strategy("proxyless", NB201Space())
