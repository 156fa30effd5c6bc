"""Paths as genes, and the expected cost against every network of a small space."""

from __future__ import annotations

import itertools

import numpy as np
import torch

from edgekit.search.mbconv.space import MBConvRecipe, MBConvSpace, Stage
from edgekit.search.protocol.pool import enumerated
from edgekit.search.protocol.problem import Floats
from edgekit.search.proxyless.deriving import derived
from edgekit.search.proxyless.paths import choice_points, drawn, expected_costs, genes_of_paths
from edgekit.search.space import Genes

SMALL = MBConvRecipe(32, 10, 16, 2, 16, (Stage(32, 2, 2),), 64)
SPACE = MBConvSpace(SMALL)
POINTS = choice_points(SPACE)


def costs(genes: Genes) -> Floats:
    """Not additive: a border between precisions costs something."""
    n = SPACE.n_positions
    own = (1 + genes[:, :n]).sum(axis=1) * 0.02
    borders = np.abs(np.diff(genes[:, n:], axis=1)).sum(axis=1) * 0.05
    return np.stack([own + borders, 0.1 + own], axis=1)


def random_probabilities(seed: int) -> list[Floats]:
    rng = np.random.default_rng(seed)
    return [rng.dirichlet(np.ones(len(point))) for point in POINTS]


def test_every_network_is_one_choice_of_paths() -> None:
    paths = np.array(list(itertools.product(*(range(len(point)) for point in POINTS))))
    genes = genes_of_paths(POINTS, paths)
    every = np.concatenate(list(enumerated(SPACE)))
    assert len(genes) == len(np.unique(genes, axis=0)) == len(every)
    assert np.array_equal(np.unique(genes, axis=0), np.unique(every, axis=0))


def test_the_expected_cost_and_its_slopes_are_those_of_all_networks() -> None:
    probabilities = random_probabilities(0)
    paths = np.array(list(itertools.product(*(range(len(p)) for p in probabilities))))
    leaves = [torch.from_numpy(p).requires_grad_() for p in probabilities]
    chance = torch.stack(
        [leaf[column] for leaf, column in zip(leaves, torch.from_numpy(paths).T, strict=True)]
    ).prod(0)
    exact = chance @ torch.from_numpy(costs(genes_of_paths(POINTS, paths))[:, 0])
    exact.backward()
    expected, slopes = expected_costs(POINTS, probabilities, costs, np.random.default_rng(0), 4000)
    np.testing.assert_allclose(expected[0], exact.item(), rtol=0.01)
    for leaf, slope in zip(leaves, slopes, strict=True):
        assert leaf.grad is not None
        np.testing.assert_allclose(slope[:, 0], leaf.grad.numpy(), atol=0.01)


def test_draws_follow_the_probabilities() -> None:
    probabilities = random_probabilities(1)
    paths = drawn(probabilities, 20_000, np.random.default_rng(0))
    for p, column in zip(probabilities, paths.T, strict=True):
        shares = np.bincount(column, minlength=len(p)) / len(column)
        np.testing.assert_allclose(shares, p, atol=0.02)


def test_the_most_probable_networks_at_a_limit_are_found() -> None:
    probabilities = random_probabilities(2)
    every = np.array(list(itertools.product(*(range(len(p)) for p in probabilities))))
    logs = [np.log(p) for p in probabilities]
    worth = sum(log[column] for log, column in zip(logs, every.T, strict=True))
    whole = costs(genes_of_paths(POINTS, every)).max(axis=1)
    limit = float(np.quantile(whole, 0.3))
    at_limit = (whole <= limit) & (whole > 0.98 * limit)
    best = genes_of_paths(POINTS, every[at_limit][[np.argmax(worth[at_limit])]])[0]
    found = derived(POINTS, probabilities, lambda g: costs(g) / limit, np.random.default_rng(0))
    shares = costs(found.genes).max(axis=1) / limit
    inside = np.flatnonzero((shares <= 1) & (shares > 0.98))
    top = inside[found.values[inside, 0].argmax()]
    assert np.array_equal(found.genes[top], best)
    assert len(np.unique(found.genes, axis=0)) == len(found.genes)
    assert (shares <= 0.9).any()


def test_without_limits_the_most_probable_comes_first() -> None:
    probabilities = random_probabilities(3)
    found = derived(POINTS, probabilities, lambda g: costs(g)[:, :0], np.random.default_rng(0))
    likeliest = np.array([[int(p.argmax()) for p in probabilities]])
    assert np.array_equal(found.genes[0], genes_of_paths(POINTS, likeliest)[0])
