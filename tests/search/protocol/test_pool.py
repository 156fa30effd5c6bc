"""Candidates by the thousand."""

from __future__ import annotations

import numpy as np

from edgekit.core.candidate import Candidate
from edgekit.core.limits import Limits
from edgekit.search.mbconv.space import MBConvRecipe, MBConvSpace, Stage
from edgekit.search.protocol.pool import (
    drawn_inside,
    enumerated,
    first_of_equals,
    inside_first,
    neighbours,
    pool,
)
from tests.search.synthetic import TINY, formula_problem

SMALL = MBConvSpace(MBConvRecipe(32, 10, 16, 2, 16, (Stage(32, 2, 2),), 64))


def test_every_network_is_listed_once() -> None:
    genes = np.concatenate(list(enumerated(SMALL)))
    assert len(genes) == SMALL.n_candidates == len(np.unique(genes, axis=0))
    assert (SMALL.canonical(genes) == genes).all()


def test_a_pool_is_the_whole_of_a_small_space_and_draws_of_a_large_one() -> None:
    small, large = (pool(space, np.random.default_rng(0)) for space in (SMALL, MBConvSpace(TINY)))
    assert len(small) == SMALL.n_candidates
    assert 10_000 < len(large) <= 20_000
    for genes in (small, large):
        assert len(np.unique(genes, axis=0)) == len(genes)
        assert not (np.diff(genes[:, 0]) >= 0).all()


def test_the_first_of_equal_rows_stays() -> None:
    genes = np.random.default_rng(0).integers(0, 3, (500, 4))
    _, first = np.unique(genes, axis=0, return_index=True)
    np.testing.assert_array_equal(first_of_equals(genes), np.sort(first))


def test_those_inside_come_first_in_their_order_then_the_nearest() -> None:
    problem = formula_problem(limits=Limits(2.5e-4, 250_000))
    genes = problem.space.sample(300, np.random.default_rng(0))
    margins = problem.margins(inside_first(problem, genes)).max(axis=1)
    n_inside = int((margins <= 0).sum())
    assert 0 < n_inside < 300
    assert (margins[:n_inside] <= 0).all()
    assert (np.diff(margins[n_inside:]) >= 0).all()
    kept = genes[(problem.margins(genes) <= 0).all(axis=1)]
    assert (inside_first(problem, genes)[:n_inside] == kept).all()
    assert (problem.margins(drawn_inside(problem, [])[:100]) <= 0).all()


def test_neighbours_differ_in_one_gene_and_are_networks_of_their_own() -> None:
    candidate = Candidate((0, 6, 0, 1, 0, 1))
    near = neighbours(SMALL, candidate)
    assert (SMALL.canonical(near) == near).all()
    assert candidate.genes not in {tuple(row) for row in near.tolist()}
    # five other operations of the first, six of the second block, three precisions that mean some.
    assert len(near) == 5 + 6 + 3
