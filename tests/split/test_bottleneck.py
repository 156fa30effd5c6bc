"""Divisive normalisation."""

from __future__ import annotations

import torch

from edgekit.split.bottleneck import GDN


def test_it_divides_by_what_the_channels_hold() -> None:
    torch.manual_seed(0)
    gdn, x = GDN(3), torch.randn(2, 3, 4, 4)
    with torch.no_grad():
        beta, gamma = gdn.beta.square(), gdn.gamma.square()
        norm = beta[:, None, None] + torch.einsum("ij,bjhw->bihw", gamma, x.abs())
        torch.testing.assert_close(gdn(x), x / norm)


def test_the_inverse_multiplies() -> None:
    gdn, inverse, x = GDN(3), GDN(3, inverse=True), torch.randn(2, 3, 4, 4)
    with torch.no_grad():
        torch.testing.assert_close(inverse(x), x * (x / gdn(x)))


def test_parameters_stay_above_zero_and_come_back_from_below() -> None:
    gdn, x = GDN(2), torch.randn(8, 2, 4, 4)
    optimizer = torch.optim.SGD(gdn.parameters(), 100.0)
    gdn(x).square().sum().neg().backward()  # drives beta down
    optimizer.step()
    assert torch.isfinite(gdn(x)).all()
    with torch.no_grad():
        gdn.beta.fill_(-1.0)
    optimizer.zero_grad()
    gdn(x).square().sum().backward()  # smaller outputs want a larger beta
    assert gdn.beta.grad is not None
    assert (gdn.beta.grad < 0).all()
