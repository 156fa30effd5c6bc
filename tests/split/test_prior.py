"""The factorised prior learns a distribution, and its tables code it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgekit.split.codec import HEADER_BYTES, PRECISION
from edgekit.split.prior import FactorisedPrior, integer_counts

SHAPE = (3, 8, 8)
SCALES = torch.tensor([0.3, 1.0, 3.0])
SHIFTS = torch.tensor([0.2, -1.0, 4.0])


def latents(n: int, seed: int) -> torch.Tensor:
    """Laplace, of another scale and centre in each channel."""
    drawn = np.random.default_rng(seed).laplace(size=(n, *SHAPE))
    values = torch.from_numpy(drawn).float()
    return values * SCALES[:, None, None] + SHIFTS[:, None, None]


@pytest.fixture(scope="module")
def trained() -> FactorisedPrior:
    torch.manual_seed(0)
    prior = FactorisedPrior(3)
    function = [p for name, p in prior.named_parameters() if name != "quantiles"]
    optimizer = torch.optim.Adam([{"params": function}, {"params": [prior.quantiles]}], 1e-2)
    for step in range(1200):
        for group in optimizer.param_groups:
            group["lr"] = 1e-2 if step < 1000 else 1e-3
        z = latents(8, step)
        optimizer.zero_grad()
        bits = prior.bits(z + torch.rand_like(z) - 0.5)
        (bits / z.numel() + prior.quantile_loss()).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return prior


def test_probabilities_sum_to_one(trained: FactorisedPrior) -> None:
    with torch.no_grad():
        around = torch.arange(-400.0, 401).expand(3, -1)
        total = trained.probabilities(around).sum(1)
        torch.testing.assert_close(total, torch.ones(3), rtol=0, atol=1e-4)


def test_medians_and_tails_are_found(trained: FactorisedPrior) -> None:
    torch.testing.assert_close(trained.medians, SHIFTS, rtol=0, atol=0.15)
    low, _, high = trained.quantiles.T
    assert ((low < SHIFTS - 5 * SCALES) & (high > SHIFTS + 5 * SCALES)).all()


def test_the_quantile_loss_moves_quantiles_alone(trained: FactorisedPrior) -> None:
    trained.zero_grad()
    trained.quantile_loss().backward()  # type: ignore[no-untyped-call]
    moved = {name for name, p in trained.named_parameters() if p.grad is not None}
    assert moved == {"quantiles"}


def test_bits_are_near_the_entropy_and_payloads_near_the_bits(trained: FactorisedPrior) -> None:
    tables = trained.tables("test", SHAPE)
    centred = latents(100, 10_000)
    with torch.no_grad():
        wanted = [
            float(trained.bits(torch.from_numpy(tables.latent(tables.symbols(z)))[None]))
            for z in centred.numpy()
        ]
    found = [8 * (len(tables.encode(tables.symbols(z))) - HEADER_BYTES) for z in centred.numpy()]
    over = np.array(found) - np.array(wanted)
    assert over.mean() < 8 + 0.001 * np.mean(wanted)
    # The entropy of rounded Laplace variables, by counting.
    many = latents(4000, 20_000).transpose(0, 1).flatten(1)
    entropy = 0.0
    for row, median in zip(many, trained.medians, strict=True):
        _, n = torch.unique((row - median).round(), return_counts=True)
        shares = n / n.sum()
        entropy -= float((shares * shares.log2()).sum()) * 64
    assert np.mean(wanted) == pytest.approx(entropy, rel=0.03)


def test_rounding_what_comes_back_gives_the_same(trained: FactorisedPrior) -> None:
    tables = trained.tables("test", SHAPE)
    for z in latents(20, 5).numpy():
        symbols = tables.decode(tables.encode(tables.symbols(z)))
        assert (tables.symbols(tables.latent(symbols)) == symbols).all()
        assert np.abs(tables.latent(symbols) - z).max() <= 0.5 + 1e-5


def test_counts_are_above_zero_and_sum_up() -> None:
    counts = integer_counts(np.array([0.0, 1e-12, 0.7, 0.2999]))
    assert counts.sum() == 2**PRECISION
    assert counts.min() == 1
    assert len(counts) == 5


def test_quantiles_are_found_where_the_distribution_has_them() -> None:
    torch.manual_seed(0)
    prior = FactorisedPrior(3)
    prior.spread(torch.tensor([0.5, 4.0, 60.0]))
    prior.settle()
    with torch.no_grad():
        shares = torch.sigmoid(prior.logits(prior.quantiles).double())
    torch.testing.assert_close(shares[:, 1], torch.full((3,), 0.5).double(), atol=1e-3, rtol=0)
    torch.testing.assert_close(shares[:, 0], torch.full((3,), 5e-10).double(), atol=0, rtol=0.05)
    assert (prior.quantiles.diff(dim=1) > 0).all()
    assert float(prior.quantile_loss().detach()) < 0.1
    assert prior.quantiles[2, 2] > prior.quantiles[1, 2] > prior.quantiles[0, 2]
