"""Metrics of several inputs against what they are by hand."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn

from edgekit.search.metrics.activations import jacob_cov, naswot, zen


def images(n: int = 8) -> torch.Tensor:
    return torch.randn(n, 3, 6, 6, generator=torch.Generator().manual_seed(0))


def net(width: int = 16) -> nn.Sequential:
    torch.manual_seed(0)
    first = [nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU()]
    return nn.Sequential(*first, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 4))


def test_naswot_counts_equal_switches() -> None:
    x = torch.tensor([[1.0, -1, 1], [1, 1, -1], [-1, -1, -1]])
    alike = np.array([[3, 1, 1], [1, 3, 1], [1, 1, 3]])
    expected = math.log(np.linalg.det(alike))
    assert naswot(nn.ReLU(), x) == pytest.approx(expected)
    assert naswot(nn.ReLU(inplace=True), x.clone()) == pytest.approx(expected)
    assert math.isnan(naswot(nn.Identity(), x))
    assert math.isnan(naswot(nn.ReLU(), torch.ones(3, 3)))


def test_jacob_cov_is_that_of_the_correlations() -> None:
    x, model = images(), net()
    gradient = torch.autograd.functional.jacobian(lambda v: model(v).sum(), x).flatten(1)
    values = np.linalg.eigvalsh(np.corrcoef(gradient.double().numpy()))
    expected = -np.sum(np.log(values + 1e-5) + 1 / (values + 1e-5))
    assert jacob_cov(model, x) == pytest.approx(expected, rel=1e-2)
    assert math.isnan(jacob_cov(nn.Flatten(), x))


def test_images_that_a_network_does_not_tell_apart_score_badly() -> None:
    x, model = images(), net()
    same = x[:1].expand(len(x), -1, -1, -1) + 1e-4 * x
    assert jacob_cov(model, same) < jacob_cov(model, x)
    assert naswot(model, x) > naswot(model.eval(), same) or math.isnan(naswot(model, same))


def test_zen_of_one_layer_is_the_size_of_a_random_change() -> None:
    """An average of |w . change| over Gaussian weights and changes."""
    torch.manual_seed(0)
    model = _Features(nn.Conv2d(3, 400, 3, bias=False))
    found = [zen(model, images(), torch.Generator().manual_seed(seed)) for seed in range(4)]
    expected = math.log(0.01 * math.sqrt(27) * math.sqrt(2 / math.pi))
    assert np.mean(found) == pytest.approx(expected, abs=0.1)


class _Features(nn.Module):
    """A layer whose answer is pooled by hand, so that it has no places left."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x).mean(dim=(2, 3))


def test_zen_multiplies_back_what_norms_divide_by_and_changes_nothing() -> None:
    x = images(16)
    plain = _Features(nn.Sequential(nn.Conv2d(3, 64, 3, bias=False)))
    normed = _Features(nn.Sequential(nn.Conv2d(3, 64, 3, bias=False), nn.BatchNorm2d(64)))
    before = copy.deepcopy(normed.state_dict())
    found = [zen(model, x, torch.Generator().manual_seed(1)) for model in (plain, normed)]
    assert found[0] == pytest.approx(found[1], abs=0.1)
    assert all(torch.equal(v, before[k]) for k, v in normed.state_dict().items())
    assert zen(net(64), x, torch.Generator().manual_seed(1)) == zen(
        net(64), x, torch.Generator().manual_seed(1)
    )


def test_a_constant_network_has_no_zen() -> None:
    class Constant(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(x), 3)

    assert math.isnan(zen(Constant(), images(), torch.Generator()))
