"""The parts of a network that have one precision each."""

from __future__ import annotations

import torch

from edgekit.search.elastic.network import ElasticNetwork
from tests.search.elastic.nets import made

EXAMPLE = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def blocks(name: str) -> list[str]:
    return list(dict.fromkeys(ElasticNetwork(made(name), EXAMPLE).blocks.values()))


def test_elements_of_a_container_with_two_layers_are_blocks_and_so_are_single_layers() -> None:
    assert blocks("residual") == ["0", "3", "4", "5", "8"]


def test_attention_and_mlp_of_one_layer_are_blocks_of_their_own() -> None:
    found = blocks("transformer")
    assert found[1:5] == [f"layers.{i}.{part}" for i in (0, 1) for part in ("attention", "mlp")]


def test_every_operation_belongs_to_a_block_with_a_layer() -> None:
    elastic = ElasticNetwork(made("dense"), EXAMPLE)
    operations = [n.name for n in elastic.source.graph.nodes if n.op == "call_function"]
    assert list(elastic.blocks) == operations
    layers = {elastic.blocks[n] for n in operations if n.startswith(("conv", "linear"))}
    assert set(elastic.blocks.values()) == layers


def test_what_stands_behind_a_branch_that_may_go_joins_a_block_that_stays() -> None:
    elastic = ElasticNetwork(made("inverted"), EXAMPLE)
    (pool,) = (name for name in elastic.blocks if "pool" in name)
    assert elastic.blocks[pool] == elastic.blocks["linear"]
