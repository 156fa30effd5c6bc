"""Batch norms of extracted networks, folded."""

from __future__ import annotations

import pytest
import torch

from edgekit.search.elastic.folding import folded
from edgekit.search.elastic.network import ElasticNetwork
from tests.search.elastic.nets import NETS, made

EXAMPLE = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", NETS)
def test_a_folded_network_answers_alike_and_leaves_the_first_as_it_was(name: str) -> None:
    elastic = ElasticNetwork(made(name), EXAMPLE)
    net = elastic.extract(elastic.largest)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with torch.no_grad():
        torch.testing.assert_close(folded(net)(EXAMPLE), net(EXAMPLE), rtol=1e-4, atol=1e-5)
    assert all((net.state_dict()[key] == value).all() for key, value in before.items())


def test_no_batch_norm_behind_a_convolution_is_left_nor_its_statistics() -> None:
    elastic = ElasticNetwork(made("residual"), EXAMPLE)
    plain = folded(elastic.extract(elastic.largest))
    assert not any("batch_norm" in str(node.target) for node in plain.graph.nodes)
    assert not any("running" in name for name in plain.state_dict())
