"""A smaller network carries, under the same names, a part of what its original carries."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from edgekit.search.elastic.folding import folded
from edgekit.search.elastic.network import Choice, ElasticNetwork
from edgekit.search.elastic.teaching import (
    TEMPERATURE,
    hints,
    taught_by_answers,
    taught_by_hints,
    with_hints,
)
from edgekit.training.loop import Step
from edgekit.training.losses import cross_entropy, distillation
from tests.search.elastic.nets import Basic

STEP = Step(np.random.default_rng(0), 0.0)


def chain(width: int = 16) -> nn.Module:
    torch.manual_seed(0)
    start = [nn.Conv2d(3, width, 3, 1, 1), nn.BatchNorm2d(width), nn.ReLU()]
    end = [nn.Conv2d(width, 24, 3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(24 * 16, 4)]
    return nn.Sequential(*start, *end).eval()


def residual() -> nn.Module:
    torch.manual_seed(0)
    blocks = [Basic(16, 16, 1), Basic(16, 16, 1), Basic(16, 32, 2), Basic(32, 32, 1)]
    end = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 4)]
    return nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1), nn.ReLU(), *blocks, *end).eval()


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def elastic_of(net: nn.Module) -> ElasticNetwork:
    return ElasticNetwork(net, torch.zeros(2, 3, 8, 8))


def test_hints_are_the_inputs_of_layers_that_always_stay(x: torch.Tensor) -> None:
    elastic = elastic_of(residual())
    teacher = folded(elastic.extract(elastic.largest))
    found = hints(elastic, elastic.largest, teacher)
    inside = {name for branch in elastic.structure.branches for name in branch.nodes}
    assert 2 <= len(found) <= 4
    assert not inside.intersection(hint.layer for hint in found)
    logits, *carried = with_hints(teacher, found)(x)
    torch.testing.assert_close(logits, residual()(x))
    assert [tuple(c.shape[1:]) for c in carried][-1] == (32,)


def test_a_shorter_network_is_hinted_at_the_same_places(x: torch.Tensor) -> None:
    elastic = elastic_of(residual())
    shortest = Choice(
        elastic.largest.n_channels, frozenset(b.exit for b in elastic.structure.branches)
    )
    teacher = folded(elastic.extract(elastic.largest))
    found = hints(elastic, shortest, teacher)
    _, *mine = with_hints(elastic.extract(shortest), found)(x)
    _, *theirs = with_hints(teacher, found)(x)
    assert [a.shape for a in mine] == [b.shape for b in theirs]


def test_the_channels_are_those_that_the_smaller_network_has(x: torch.Tensor) -> None:
    elastic = elastic_of(chain())
    order = np.random.default_rng(0).permutation(16)
    elastic.sort([order, *elastic.orders[1:]])
    choice = Choice((5, *elastic.largest.n_channels[1:]))
    teacher = folded(elastic.extract(elastic.largest))
    first, *_ = hints(elastic, choice, teacher)
    assert {axis: index.tolist() for axis, index in first.left.items()} == {
        1: sorted(order[:5].tolist())
    }
    _, mine = with_hints(elastic.extract(choice), [first])(x)
    _, theirs = with_hints(teacher, [first])(x)
    torch.testing.assert_close(mine, first.part_of(theirs))


class Tokens(nn.Module):
    """Channels last, as in transformers."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(8, 32), nn.Linear(32, 16)
        self.weight, self.bias = nn.Parameter(torch.randn(16, 4)), nn.Parameter(torch.zeros(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.second(self.first(x.mean(1)).relu()).relu()
        return torch.addmm(self.bias, x.mean(1), self.weight)


def test_channels_are_found_on_any_axis(x: torch.Tensor) -> None:
    elastic = elastic_of(Tokens().eval())
    teacher = elastic.extract(elastic.largest)
    found = hints(elastic, elastic.smallest, teacher)
    net = elastic.extract(elastic.smallest)
    assert [sorted(hint.left) for hint in found][-2:] == [[2], [1]]
    assert np.isfinite(taught_by_hints(net, found, teacher, 0.0)(x, torch.arange(8) % 4, STEP))


def test_an_original_whose_tensor_is_all_zeros_gives_no_infinite_loss(x: torch.Tensor) -> None:
    net = chain()
    with torch.no_grad():
        net[3].weight.zero_()  # type: ignore[union-attr, operator]
        net[3].bias.fill_(-1.0)  # type: ignore[union-attr, operator]
    elastic = elastic_of(net)
    teacher = elastic.extract(elastic.largest)
    found = hints(elastic, elastic.largest, teacher)
    assert np.isfinite(taught_by_hints(teacher, found, teacher, 0.0)(x, torch.arange(8) % 4, STEP))


def test_an_original_of_other_widths_gives_no_hints_where_they_differ() -> None:
    elastic, other = elastic_of(chain(12)), elastic_of(chain(16))
    teacher = other.extract(other.largest)
    found = hints(elastic, elastic.largest, teacher)
    assert [hint.layer for hint in found] == ["linear"]


def test_the_loss_of_hints_is_nothing_where_both_are_the_same(x: torch.Tensor) -> None:
    elastic = elastic_of(residual())
    net = elastic.extract(elastic.largest)
    y = torch.arange(8) % 4
    found = hints(elastic, elastic.largest, net)
    with_them = taught_by_hints(net, found, net, 0.1)(x, y, STEP)
    logits = net(x)
    expected = 0.9 * distillation(logits, logits, TEMPERATURE) + 0.1 * cross_entropy(
        logits, y, 0.1
    )
    bound = float(expected.detach())
    assert with_them == pytest.approx(bound, rel=0.02)  # products may be in bfloat16
    assert taught_by_answers(net, net, 0.1)(x, y, STEP) == pytest.approx(bound, rel=0.02)


def test_steps_along_the_gradient_bring_both_nearer(x: torch.Tensor) -> None:
    elastic = elastic_of(residual())
    shortest = Choice(
        elastic.largest.n_channels, frozenset(b.exit for b in elastic.structure.branches)
    )
    net, teacher = elastic.extract(shortest), folded(elastic.extract(elastic.largest))
    found = hints(elastic, shortest, teacher)
    objective = taught_by_hints(net, found, teacher, 0.0)
    optimizer = torch.optim.SGD(net.parameters(), 0.01)
    y = teacher(x).argmax(1)
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        losses.append(objective(x, y, STEP))
        optimizer.step()
    assert losses[-1] < losses[0]
