from __future__ import annotations

import pytest

from edgekit.core.precision import Precision
from edgekit.core.target import Target
from edgekit.devices.networks.graph import GraphBuilder
from edgekit.devices.networks.lowering import lower
from edgekit.export.block_times import block_times
from tests.export.conftest import Exported


def test_every_kernel_counts_in_its_block_and_the_sum_is_the_latency(exported: Exported) -> None:
    model, precisions = exported.mixed.SerializeToString(), exported.provenance.precisions
    found = block_times(model, Target(), precisions, 0.002)
    assert [block.name for block in found] == list(precisions)
    assert [block.precision for block in found] == list(precisions.values())
    assert sum(block.n_kernels for block in found) == len(lower(exported.mixed))
    assert sum(block.scaled_s for block in found) == pytest.approx(0.002)
    ratios = [block.scaled_s / block.profiled_s for block in found]
    assert ratios == pytest.approx([ratios[0]] * len(ratios))


def test_kernels_outside_all_blocks_are_not_lost() -> None:
    net = GraphBuilder("half", (1, 3, 8, 8))
    with net.block("body"):
        x = net.conv(net.input, 8, 3)
    model = net.build(net.linear(net.flatten(net.global_pool(x)), 4)).SerializeToString()
    found = {b.name: b for b in block_times(model, Target(), {"body": Precision.FP32}, 1.0)}
    assert set(found) == {"body", "outside"}
    assert found["outside"].precision is None
    assert sum(block.n_kernels for block in found.values()) == len(lower(model))
