"""Cuts of captured networks, and the halves behind them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import fx, nn

from edgekit.core.errors import InputError
from edgekit.search.elastic.capture import captured
from edgekit.search.mbconv.network import MBConvNet
from edgekit.search.mbconv.space import MBConvRecipe, MBConvSpace
from edgekit.split.cutting import cut_named, cuts, tail


class Residual(nn.Module):
    """A stem, a residual block and a head that reads the batch size of the images."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU())
        self.first, self.second = nn.Conv2d(8, 8, 3, 1, 1), nn.Conv2d(8, 8, 3, 1, 1)
        self.down = nn.Conv2d(8, 16, 3, 2, 1)
        self.head = nn.Linear(16 * 4 * 4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        n = x.shape[0]
        y = self.stem(x)
        y = F.relu(y + self.second(F.relu(self.first(y))))
        return self.head(F.relu(self.down(y)).reshape(n, -1))


@pytest.fixture(scope="module")
def residual() -> fx.GraphModule:
    torch.manual_seed(0)
    return captured(Residual(), torch.zeros(2, 3, 16, 16))


def test_cuts_lie_where_one_tensor_goes_on(residual: fx.GraphModule) -> None:
    assert [cut.shape for cut in cuts(residual)] == [(8, 8, 8), (8, 8, 8), (16, 4, 4)]


def test_the_second_half_goes_on_as_the_whole(residual: fx.GraphModule) -> None:
    x = torch.randn(3, 3, 16, 16)
    for cut in cuts(residual):
        seen: list[torch.Tensor] = []

        class Watching(fx.Interpreter):
            def run_node(self, n: fx.Node) -> object:
                value = super().run_node(n)
                if n.name == cut.name:  # noqa: B023
                    seen.append(value)  # noqa: B023
                return value

        with torch.no_grad():
            wanted = residual(x)
            flat = Watching(residual).run(x, enable_io_processing=False)
            assert seen[0].shape[1:] == cut.shape
            torch.testing.assert_close(tail(residual, cut)(seen[0]), wanted)
            assert flat is not None


def test_the_second_half_has_the_parameters_of_the_whole(residual: fx.GraphModule) -> None:
    last = tail(residual, cuts(residual)[-1])
    assert {name for name, _ in last.named_parameters()} == {"head.weight", "head.bias"}
    assert last.get_parameter("head.weight") is residual.get_parameter("head.weight")


def test_a_place_that_is_no_cut_is_refused_with_those_that_are(residual: fx.GraphModule) -> None:
    (name, *_) = (cut.name for cut in cuts(residual))
    assert cut_named(residual, name).name == name
    with pytest.raises(InputError, match=f"one tensor goes on, {name}, .*, got conv2d_1"):
        cut_named(residual, "conv2d_1")


def test_every_block_of_a_candidate_can_be_a_border() -> None:
    space = MBConvSpace(MBConvRecipe.quick(32, 10))
    net = MBConvNet(space, space.decode(space.largest()))
    found = cuts(captured(net, torch.zeros(2, 3, 32, 32)))
    assert len(found) >= space.n_positions
    assert found[-1].shape[1] < found[0].shape[1]
