"""Divisive normalisation, encoder and decoder."""

from __future__ import annotations

import pytest
import torch

from edgekit.core.errors import InputError
from edgekit.split.bottleneck import GDN, BottleneckRecipe, decoder, encoder


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


@pytest.mark.parametrize("downscale", [2, 4, 8])
def test_the_halves_fit_together(downscale: int) -> None:
    recipe = BottleneckRecipe((12, 8), 6, 3, downscale, 16)
    side = 32 // downscale
    with torch.no_grad():
        latent = encoder(recipe)(torch.randn(2, 3, 32, 32))
        assert latent.shape == (2, 6, side, side)
        assert decoder(recipe, (10, 16, 16), side)(latent).shape == (2, 10, 16, 16)


def test_sizes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="by a whole factor, got 16x16 for 8x8"):
        decoder(BottleneckRecipe(), (10, 8, 8), 16)
    with pytest.raises(InputError, match="odd kernels"):
        BottleneckRecipe(kernel=4)
    with pytest.raises(InputError, match="at most 255 channels"):
        BottleneckRecipe(channels=256)
