from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edgekit.core.errors import InputError
from edgekit.search.elastic.importance import by_magnitude, by_taylor
from edgekit.search.elastic.network import Choice, ElasticNetwork
from tests.search.elastic.nets import made

EXAMPLE = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def _net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )


def test_large_weights_come_first():
    net = _net()
    sizes = torch.tensor([1.0, 5, 2, 8, 3, 7, 4, 6])
    with torch.no_grad():
        for weight, shape in ((net[0].weight, (8, 1, 1, 1)), (net[2].weight, (1, 8, 1, 1))):
            weight.copy_(torch.sign(weight) * sizes.view(shape))
    (order,) = by_magnitude(ElasticNetwork(net, EXAMPLE))
    assert order.tolist() == [3, 5, 7, 1, 6, 4, 2, 0]


def test_taylor_finds_channels_that_nothing_reads():
    net = _net()
    with torch.no_grad():
        net[2].weight[:, [1, 4, 6]] = 0
    elastic = ElasticNetwork(net, EXAMPLE)
    batches = [(torch.randn(16, 3, 16, 16), torch.randint(4, (16,))) for _ in range(2)]
    choice = elastic.choice = Choice((5,))
    (order,) = by_taylor(elastic, batches, lambda net, x, y: F.cross_entropy(net(x), y))
    assert sorted(order[5:].tolist()) == [1, 4, 6]
    assert elastic.choice == choice
    assert all(parameter.grad is None for parameter in elastic.parameters())
    elastic.sort([order])
    with torch.no_grad():
        torch.testing.assert_close(elastic(EXAMPLE), net(EXAMPLE), rtol=0, atol=1e-5)


def test_nothing_to_judge_on_is_refused():
    elastic = ElasticNetwork(_net(), EXAMPLE)
    with pytest.raises(InputError, match="at least one batch, got none"):
        by_taylor(elastic, [], lambda net, x, y: F.cross_entropy(net(x), y))


def test_every_group_of_a_transformer_is_ordered():
    elastic = ElasticNetwork(made("transformer"), EXAMPLE)
    orders = by_magnitude(elastic)
    sizes = [group.n_channels for group in elastic.structure.groups]
    assert [sorted(order.tolist()) for order in orders] == [list(range(n)) for n in sizes]
    elastic.sort(orders)
    with torch.no_grad():
        assert elastic(EXAMPLE).shape == (2, 10)
        np.testing.assert_array_equal(
            elastic(EXAMPLE).numpy(), made("transformer")(EXAMPLE).numpy()
        )
