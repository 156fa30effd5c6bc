"""The convolution unit, and folding its norm away."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from edgekit.training.layers import ConvUnit, folded


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 2), (5, 1), (7, 2)])
def test_a_unit_pads_to_the_same_size_over_the_stride(kernel: int, stride: int) -> None:
    unit = ConvUnit(4, 6, kernel, stride=stride)
    assert unit(torch.zeros(2, 4, 16, 16)).shape == (2, 6, 16 // stride, 16 // stride)


def test_activation_is_relu6_and_only_where_asked() -> None:
    torch.manual_seed(0)
    x = 100 * torch.randn(4, 3, 8, 8)
    unit, linear = ConvUnit(3, 8, 3).eval(), ConvUnit(3, 8, 3, act=False).eval()
    assert unit(x).min() == 0
    assert unit(x).max() == 6
    assert linear(x).min() < 0


def test_folding_keeps_the_outputs_and_leaves_the_original_alone(
    make_net: Callable[[], nn.Module],
) -> None:
    net = make_net()
    generator = torch.Generator().manual_seed(0)
    for norm in (m for m in net.modules() if isinstance(m, nn.BatchNorm2d)):
        for tensor, low in ((norm.running_mean, -1), (norm.running_var, 0.1), (norm.bias, -1)):
            tensor.data.uniform_(low, 2, generator=generator)
    x = torch.randn(4, 3, 16, 16, generator=generator)
    net.eval()
    plain = folded(net)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in plain.modules())
    assert any(isinstance(m, nn.BatchNorm2d) for m in net.modules())
    torch.testing.assert_close(plain(x), net(x), atol=1e-5, rtol=1e-5)


def test_folding_twice_changes_nothing_more(make_net: Callable[[], nn.Module]) -> None:
    once = folded(make_net())
    twice = folded(once)
    assert once.state_dict().keys() == twice.state_dict().keys()
    assert all(torch.equal(once.state_dict()[k], v) for k, v in twice.state_dict().items())
