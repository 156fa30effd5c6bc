"""Gradient metrics against what they are by hand."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edgekit.search.metrics.gradients import gradient_metrics, synflow


def batch(n: int = 6) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 2, 4, 4, generator=generator)
    return x, torch.randint(0, 3, (n,), generator=generator)


def net(seed: int = 0, *, inplace: bool = False) -> nn.Sequential:
    torch.manual_seed(seed)
    head = [nn.ReLU(inplace=inplace), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3)]
    return nn.Sequential(nn.Conv2d(2, 5, 3), nn.BatchNorm2d(5), *head)


def test_first_order_metrics_are_those_of_plain_autograd() -> None:
    x, y = batch()
    mine, model = net(), net()
    F.cross_entropy(model(x), y).backward()
    weights = [model[0].weight, model[-1].weight]
    found = gradient_metrics(mine, x, y).values
    norms = sum(float(w.grad.norm()) for w in weights)  # type: ignore[union-attr]
    snip = sum(float((w.detach() * w.grad).abs().sum()) for w in weights)
    assert found["grad_norm"] == pytest.approx(norms, rel=1e-5)
    assert found["snip"] == pytest.approx(snip, rel=1e-5)


def test_fisher_squares_the_sum_over_places() -> None:
    x, y = batch()
    model = nn.Sequential(nn.Conv2d(2, 3, 4), nn.Flatten())
    answer = model(x).detach().requires_grad_()
    F.cross_entropy(answer, y).backward()
    assert answer.grad is not None
    expected = float(0.5 * (answer.detach() * answer.grad).square().mean(dim=0).sum())
    assert gradient_metrics(model, x, y).values["fisher"] == pytest.approx(expected, rel=1e-5)


def test_grasp_is_the_hessian_along_the_gradient() -> None:
    """By a difference of two gradients."""
    x, y = batch()
    model = net().double()
    x = x.double()
    found = gradient_metrics(copy.deepcopy(model), x, y).values["grasp"]

    def gradient(at: nn.Module) -> list[torch.Tensor]:
        loss = F.cross_entropy(at(x), y)
        return list(torch.autograd.grad(loss, [at[0].weight, at[-1].weight]))  # type: ignore[index]

    step, g = 1e-5, gradient(model)
    moved = copy.deepcopy(model)
    with torch.no_grad():
        for weight, direction in zip((moved[0].weight, moved[-1].weight), g, strict=True):
            weight += step * direction
    hessian = [(b - a) / step for a, b in zip(g, gradient(moved), strict=True)]
    weights = (model[0].weight, model[-1].weight)
    expected = -sum(float((w.detach() * h).sum()) for w, h in zip(weights, hessian, strict=True))
    assert found == pytest.approx(expected, rel=1e-3)


def test_int8_noise_is_variance_of_rounding_times_squared_gradient() -> None:
    x, y = batch()
    model = nn.Sequential(nn.Flatten(), nn.Linear(32, 3, bias=False))
    weight = model[1].weight
    answer = model(x)
    answer.retain_grad()
    F.cross_entropy(answer, y).backward()
    assert weight.grad is not None
    assert answer.grad is not None
    step = weight.detach().abs().amax(dim=1, keepdim=True) / 127
    of_weight = (step**2 / 12 * weight.grad**2).sum()
    of_answer = ((answer.max() - answer.min()).detach() / 255) ** 2 / 12 * (answer.grad**2).sum()
    found = gradient_metrics(model, x, y).int8_noise
    assert found == {"1.weight": pytest.approx(float(of_weight + of_answer), rel=1e-4)}


def test_synflow_of_linear_layers_is_their_product_once_a_layer() -> None:
    torch.manual_seed(0)
    first, second = nn.Linear(4, 6, bias=False), nn.Linear(6, 3, bias=False)
    x = torch.zeros(2, 4)
    product = (second.weight.abs() @ first.weight.abs() @ torch.ones(4)).sum()
    expected = 2 * float(product.detach())
    assert synflow(nn.Sequential(first, second), x) == pytest.approx(expected, rel=1e-5)


def test_synflow_leaves_norms_out_and_the_network_as_it_was() -> None:
    model, x = net(), batch()[0]
    before = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        model[1].running_var.fill_(100.0)
    without = nn.Sequential(*(m for m in model if not isinstance(m, nn.BatchNorm2d)))
    assert synflow(model, x) == pytest.approx(synflow(without, x))
    for name, value in model.state_dict().items():
        if "running_var" not in name:
            assert torch.equal(value, before[name])


def test_a_graph_has_the_metrics_of_its_module() -> None:
    x, y = batch()
    model = net(inplace=True).eval()
    graph = torch.export.export(copy.deepcopy(model), (x,)).module()
    mine, theirs = gradient_metrics(model, x, y), gradient_metrics(graph, x, y)
    assert mine.values == pytest.approx(theirs.values, rel=1e-5)
    assert mine.int8_noise == pytest.approx(theirs.int8_noise, rel=1e-5)
    assert synflow(model, x) == pytest.approx(synflow(graph_of(model, x), x))


def graph_of(model: nn.Module, x: torch.Tensor) -> nn.Module:
    return torch.export.export(copy.deepcopy(model), (x[:1],)).module()


def test_what_learns_nothing_has_no_grasp() -> None:
    x, y = batch()
    model = nn.Sequential(nn.Flatten(), nn.Identity())
    found = gradient_metrics(_Shift(), x, y)
    assert math.isnan(found.values["grasp"])
    assert found.int8_noise == {}
    assert math.isnan(synflow(model, x))


class _Shift(nn.Module):
    """Answers without weights that matter."""

    def __init__(self) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=(1, 2, 3))[:, None] + self.shift
