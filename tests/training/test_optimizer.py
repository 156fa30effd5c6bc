"""Muon: orthogonal steps for filters, Nesterov momentum for the rest."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from edgekit.training.optimizer import (
    MOMENTUM,
    Muon,
    MuonAdam,
    make_optimizer,
    mixes_channels,
    orthogonalised,
)


def _net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 8, 3, groups=8, bias=False),
        nn.Conv2d(8, 24, 1, bias=False),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(24, 5),
    )


@pytest.mark.parametrize("shape", [(16, 96), (96, 16), (64, 64), (1, 9), (9, 1)])
def test_an_orthogonalised_matrix_keeps_its_directions(shape: tuple[int, int]) -> None:
    torch.manual_seed(1)
    left, _, right = torch.linalg.svd(torch.randn(*shape), full_matrices=False)
    matrix = left @ torch.diag(torch.linspace(1, 0.1, min(shape))) @ right
    values = torch.diag(left.T @ orthogonalised(1e3 * matrix) @ right.T)
    assert orthogonalised(matrix).shape == shape
    assert values.min() > 0.4
    assert values.max() < 1.4


def test_a_zero_gradient_gives_a_zero_step() -> None:
    assert not orthogonalised(torch.zeros(4, 6)).any()


def test_filters_over_several_channels_are_told_from_the_others() -> None:
    names = [name for name, p in _net().named_parameters() if mixes_channels(p)]
    assert names == ["0.weight", "3.weight"]


def test_every_parameter_has_its_rate_and_only_depthwise_filters_and_matrices_decay() -> None:
    net = _net()
    groups = make_optimizer(net, 0.1, 0.03, 4e-5).param_groups
    assert [(g["lr"], g["weight_decay"], g["orthogonal"]) for g in groups] == [
        (0.03, 0.0, True),
        (0.1, 4e-5, False),
        (0.1, 0.0, False),
    ]
    names = {id(p): name for name, p in net.named_parameters()}
    assert [[names[id(p)] for p in g["params"]] for g in groups] == [
        ["0.weight", "3.weight"],
        ["2.weight", "6.weight"],
        ["1.weight", "1.bias", "6.bias"],
    ]


def test_outside_of_filters_it_is_sgd_with_nesterov_momentum() -> None:
    torch.manual_seed(2)
    mine, theirs = (nn.Linear(4, 3) for _ in range(2))
    theirs.load_state_dict(mine.state_dict())
    ours = Muon([{"params": list(mine.parameters()), "lr": 0.1, "weight_decay": 0.01}])
    sgd = torch.optim.SGD(
        theirs.parameters(), lr=0.1, momentum=MOMENTUM, nesterov=True, weight_decay=0.01
    )
    for _ in range(5):
        x = torch.randn(8, 4)
        for net, optimizer in ((mine, ours), (theirs, sgd)):
            optimizer.zero_grad()
            net(x).square().mean().backward()
            optimizer.step()
    for a, b in zip(mine.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_the_step_of_a_filter_has_the_size_of_its_rate_whatever_the_gradient() -> None:
    filters = [nn.Parameter(torch.randn(24, 8, 1, 1)) for _ in range(2)]
    before = [p.detach().clone() for p in filters]
    gradient = torch.randn(24, 8, 1, 1)
    for p, scale in zip(filters, (1e-3, 1e3), strict=True):
        p.grad = scale * gradient
    Muon([{"params": filters, "lr": 0.03, "orthogonal": True}]).step()
    steps = [(b - p.detach()).flatten(1) for b, p in zip(before, filters, strict=True)]
    torch.testing.assert_close(steps[0], steps[1], rtol=1e-3, atol=1e-5)
    norm = float(torch.linalg.matrix_norm(steps[0], 2))
    assert norm == pytest.approx(0.03 * np.sqrt(24 / 8), rel=0.4)


def test_memory_format_and_parameters_without_gradient_stay_as_they_are() -> None:
    net = _net().to(memory_format=torch.channels_last)
    optimizer = make_optimizer(net, 0.1, 0.03, 0.0)
    untouched = net[6].weight.detach().clone()
    net[:4](torch.randn(2, 3, 8, 8)).square().mean().backward()
    optimizer.step()
    assert net[0].weight.is_contiguous(memory_format=torch.channels_last)
    state = optimizer.state[net[0].weight]["momentum_buffer"]
    assert state.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(net[6].weight, untouched, rtol=0, atol=0)


def test_filters_move_as_by_muon_and_the_rest_as_by_adam() -> None:
    nets = [_net() for _ in range(3)]
    both = MuonAdam(nets[0], 0.01, 0.02)
    muon, adam = (
        make_optimizer(nets[1], 1.0, 0.02, 0.0),
        torch.optim.Adam(nets[2].parameters(), 0.01),
    )
    x = torch.randn(4, 3, 8, 8)
    for net, optimizer in zip(nets, (both, muon, adam), strict=True):
        net(x).square().sum().backward()
        optimizer.step()
    for found, by_muon, by_adam in zip(*(net.parameters() for net in nets), strict=True):
        torch.testing.assert_close(found, by_muon if mixes_channels(found) else by_adam)


def test_both_rates_are_set_by_the_groups() -> None:
    net = _net()
    optimizer = MuonAdam(net, 0.01, 0.02)
    assert [group["lr"] for group in optimizer.param_groups] == [0.02, 0.01]
    before = [parameter.detach().clone() for parameter in net.parameters()]
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    net(torch.randn(4, 3, 8, 8)).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    assert all(map(torch.equal, before, net.parameters()))
    assert all(parameter.grad is None for parameter in net.parameters())
