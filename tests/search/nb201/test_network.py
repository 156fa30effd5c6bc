"""The networks of the benchmark, against its own counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from edgekit.core.candidate import Candidate
from edgekit.core.errors import InputError
from edgekit.search.nb201.network import CellNetwork
from edgekit.search.nb201.space import NB201Space
from edgekit.search.nb201.tables import load_column

SPACE = NB201Space()


def n_parameters(net: torch.nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def macs(net: torch.nn.Module) -> int:
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        net.eval()(torch.zeros(1, 3, 32, 32))
    return counter.get_total_flops() // 2


def test_the_largest_has_the_published_size() -> None:
    net = CellNetwork(SPACE.largest(), 10)
    assert n_parameters(net) == 1_531_546
    assert macs(net) == pytest.approx(220.12e6, rel=1e-4)


def test_random_cells_have_the_sizes_of_the_table(cells_path: Path) -> None:
    columns = [load_column(cells_path, f"{name}_cifar10") for name in ("params", "macs")]
    genes = SPACE.sample(6, np.random.default_rng(0))
    for row, *expected in zip(genes.tolist(), *(c.of(genes) for c in columns), strict=True):
        net = CellNetwork(Candidate(tuple(row)), 10)
        assert [n_parameters(net), macs(net)] == expected


def test_every_operation_answers_and_learns() -> None:
    for candidate in (SPACE.largest(), Candidate((0, 1, 2, 3, 4, 2)), Candidate((0,) * 6)):
        net = CellNetwork(candidate, 7, n_cells=1, width=8)
        logits = net(torch.rand(3, 3, 16, 16))
        assert logits.shape == (3, 7)
        logits.sum().backward()
    with pytest.raises(InputError, match="nb201"):
        CellNetwork(Candidate((5, 0, 0, 0, 0, 0)), 10)
