"""One network of the space as a module."""

from __future__ import annotations

import pytest
import torch

from edgekit.core.candidate import Candidate
from edgekit.search.mbconv.network import InvertedResidual, MBConvNet
from edgekit.search.mbconv.space import MBConvSpace
from tests.search.synthetic import drawn


@pytest.mark.parametrize(
    ("in_width", "out_width", "stride"), [(16, 16, 1), (16, 24, 1), (16, 16, 2)]
)
def test_a_block_has_its_identity_where_shapes_allow(
    in_width: int, out_width: int, stride: int
) -> None:
    block = InvertedResidual(in_width, 48, out_width, 5, stride).eval()
    torch.nn.init.zeros_(block.project.get_parameter("conv.weight"))
    x = torch.randn(2, in_width, 8, 8)
    with torch.no_grad():
        y = block(x)
    assert y.shape == (2, out_width, 8 // stride, 8 // stride)
    assert torch.equal(y, x if block.residual else torch.zeros_like(y))
    assert block.residual == (stride == 1 and in_width == out_width)


def test_networks_have_the_blocks_and_parameters_of_their_genes(space: MBConvSpace) -> None:
    net = MBConvNet(space, space.decode(Candidate((1, 6, 5, 0, 0, 0, 0, 0, 0, 0))))
    assert [name for name, _ in net.blocks.named_children()] == ["b00", "b02", "b03"]
    # Weights of convolutions, two per channel for norms, the classifier with its bias.
    stem = 3 * 16 * 9 + 16 * 9 + 16 * 16 + 2 * (16 + 16 + 16)
    b00 = 16 * 96 + 96 * 9 + 96 * 16 + 2 * (96 + 96 + 16)
    b02 = 16 * 96 + 96 * 49 + 96 * 32 + 2 * (96 + 96 + 32)
    b03 = 32 * 96 + 96 * 9 + 96 * 32 + 2 * (96 + 96 + 32)
    head = 32 * 64 + 2 * 64 + 64 * 10 + 10
    assert sum(p.numel() for p in net.parameters()) == stem + b00 + b02 + b03 + head


def test_every_candidate_gives_logits(space: MBConvSpace) -> None:
    for candidate in drawn(space, 6, 1):
        net = MBConvNet(space, space.decode(candidate)).eval()
        with torch.no_grad():
            assert net(torch.zeros(3, 3, 32, 32)).shape == (3, 10)
