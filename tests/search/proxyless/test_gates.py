"""Gates: the estimator, the shift that leaves other paths alone, and a bandit."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgekit.search.proxyless.gates import Gates, alpha_gradient, rescaled, softmax

N_SEEDS = 20
LOSSES, COSTS = np.array([0.30, 0.42, 0.60]), np.array([1.0, 0.6, 0.5])
FLIPS_AT = float((LOSSES[1] - LOSSES[0]) / (COSTS[0] - COSTS[1]))
"""The price above which the second path is better than the first."""


def test_the_estimator_is_the_gradient_through_the_softmax() -> None:
    rng = np.random.default_rng(0)
    alpha = torch.from_numpy(rng.standard_normal(5)).requires_grad_()
    by_gate = rng.standard_normal(5)
    (alpha.softmax(0) @ torch.from_numpy(by_gate)).backward()
    assert alpha.grad is not None
    found = alpha_gradient(by_gate, softmax(alpha.detach().numpy()))
    np.testing.assert_allclose(found, alpha.grad.numpy(), atol=1e-12)


def test_the_share_of_a_pair_stays_what_it_was() -> None:
    before, after = np.array([0.3, -1.0]), np.array([2.3, -0.5])
    moved = rescaled(before, after)
    assert np.exp(moved).sum() == pytest.approx(np.exp(before).sum())
    assert moved[0] - moved[1] == pytest.approx(after[0] - after[1])


def test_other_paths_keep_their_probability() -> None:
    gates, rng = Gates([7, 4], 1, 0), np.random.default_rng(1)
    for _ in range(50):
        before = gates.probabilities()
        pairs, _ = gates.pairs(rng)
        gates.move(pairs, [rng.standard_normal(2) for _ in pairs], 0.3)
        for p, q, pair in zip(before, gates.probabilities(), pairs, strict=True):
            others = np.setdiff1d(np.arange(len(p)), pair)
            np.testing.assert_allclose(q[others], p[others], atol=1e-6)
            assert not np.allclose(q[pair], p[pair], atol=1e-6)


def test_pairs_are_two_paths_and_the_better_one_is_active_more_often() -> None:
    gates, rng = Gates([4], 0, 0), np.random.default_rng(0)
    gates.by_point(gates.alpha)[0][:] = np.log([0.4, 0.3, 0.2, 0.1])
    active = np.zeros(4)
    for _ in range(4000):
        ((first, second),), (taken,) = gates.pairs(rng)
        assert first != second
        active[(first, second)[taken]] += 1
    assert (np.diff(active) < 0).all()
    assert active[3] > 0


@pytest.mark.parametrize("price", [0.5 * FLIPS_AT, 0.9 * FLIPS_AT, 1.1 * FLIPS_AT, 2 * FLIPS_AT])
def test_a_bandit_finds_the_best_path_and_flips_at_the_price_that_is_known(price: float) -> None:
    worth = LOSSES + price * COSTS
    best = int(worth.argmin())
    assert best == int(price > FLIPS_AT)
    for seed in range(N_SEEDS):
        gates, rng = Gates([3], 1, seed), np.random.default_rng(seed)
        for _ in range(400):
            pairs, _ = gates.pairs(rng)
            gates.move(pairs, [worth[pairs[0]]], 0.03)
        assert gates.most_probable()[0] == best


@pytest.mark.parametrize("price", [0.5 * FLIPS_AT, 2 * FLIPS_AT])
def test_rewards_lead_to_the_same_path(price: float) -> None:
    worth = LOSSES + price * COSTS
    for seed in range(N_SEEDS):
        gates, rng = Gates([3], 1, seed), np.random.default_rng(seed)
        for _ in range(600):
            (p,) = gates.probabilities()
            taken = rng.choice(3, 10, p=p)
            gain = worth[taken].mean() - worth[taken]
            gates.move_all([-gain @ (np.eye(3)[taken] - p) / 10], 0.03)
        assert gates.most_probable()[0] == worth.argmin()
