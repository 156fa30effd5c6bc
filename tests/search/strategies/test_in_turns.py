"""Two devices of which one dislikes what the other likes."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.core.candidate import Candidate
from edgekit.search.mbconv.space import MBConvSpace
from edgekit.search.protocol.loop import search
from edgekit.search.protocol.problem import Floats, Objective, SearchProblem, Values
from edgekit.search.settings import OBJECTIVES
from edgekit.search.several import parts_of
from edgekit.search.space import Genes
from edgekit.search.strategies import STRATEGIES
from edgekit.search.strategies.in_turns import InTurns
from edgekit.testing.strategies import check_strategy
from tests.search.synthetic import formula_table

ABLE = ("random", "nsga2", "evolution", "local", "bayes", "simq")


def problem(space: MBConvSpace, limits_s: tuple[float, float], n: int = 24) -> SearchProblem:
    """Int8 is twice as fast on the first device and twice as slow on the second."""
    table = formula_table(space)

    def costs(genes: Genes) -> Floats:
        as_fp32 = genes.copy()
        as_fp32[:, space.n_positions :] = 0
        here, plain = table.latencies_s(genes), table.latencies_s(as_fp32)
        sizes = table.sizes_bytes(genes)
        return np.stack([np.full(len(genes), np.nan), here, 2 * plain - here, sizes], axis=1)

    def evaluate(candidate: Candidate) -> Values:
        genes = np.array([candidate.genes])
        _, *rest = costs(genes)[0].tolist()
        error = 1 / (1 + space.ordered_features(genes).sum())
        return (float(error), *rest)

    objectives = (
        Objective("error"),
        Objective("latency_s on a", limits_s[0]),
        Objective("latency_s on b", limits_s[1]),
        Objective("size_bytes"),
    )
    return SearchProblem(space, objectives, costs, evaluate, n, 4, 0)


@pytest.mark.parametrize("name", ABLE)
def test_the_protocol_is_kept(space: MBConvSpace, name: str) -> None:
    one = problem(space, (np.inf, np.inf), n=14)
    history = check_strategy(InTurns(STRATEGIES[name], parts_of(2, OBJECTIVES)), one)
    assert len(history) == 14


def test_each_device_and_the_compromise_have_their_turns(space: MBConvSpace) -> None:
    wide = problem(space, (np.inf, np.inf))
    genes = space.sample(2000, np.random.default_rng(0))
    here, there = np.quantile(wide.costs(genes)[:, 1:3], 0.3, axis=0)
    one = problem(space, (float(here), float(there)))
    history = list(search(one, InTurns(STRATEGIES["simq"], parts_of(2, OBJECTIVES))))
    inside = np.array([[v[1] <= here, v[2] <= there] for v in (e.values or () for e in history)])
    turns = inside.reshape(-1, 3, one.population, 2).mean(axis=(0, 2))
    assert turns[0, 0] == 1
    assert turns[1, 1] == 1
    assert turns[2].min() == 1
    assert not inside.all()
