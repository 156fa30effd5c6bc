from __future__ import annotations

import pytest

from edgekit.core.errors import InputError
from edgekit.devices.networks.families import FAMILIES
from edgekit.devices.networks.lowering import lower
from edgekit.devices.predicting.features import group_key
from edgekit.devices.predicting.plan import (
    FITTED_STOCK,
    HELD_OUT,
    PRECISIONS,
    Plan,
    PlannedNetwork,
    assorted_random,
    drawn_blocks,
    full_plan,
    quantise_blocks,
    quick_plan,
)

KEPT = PlannedNetwork("resnet20", "fp32", 32, 0.5, 8, 0, False)
HELD = PlannedNetwork("squeezenet", "fp32", 32, 0.5, 8, 0, True)


@pytest.mark.parametrize("make", [full_plan, quick_plan])
def test_plans_hold_whole_families_out(make):
    plan = make(seed=3)
    assert make(seed=3) == plan
    assert make(seed=4) != plan
    held = {network.family for network in plan.networks if network.held_out}
    assert held == set(HELD_OUT)
    assert held.isdisjoint({n.family for n in plan.networks if not n.held_out})
    assert {network.precision for network in plan.networks} == set(PRECISIONS)
    assert {32, 160} <= {network.resolution for network in plan.networks}


def test_held_out_families_are_not_fitted():
    assert set(FITTED_STOCK).isdisjoint(HELD_OUT)
    assert set(FITTED_STOCK) | set(HELD_OUT) <= set(FAMILIES)


def test_a_plan_of_equal_networks_is_refused():
    with pytest.raises(InputError, match="differ from each other"):
        Plan((KEPT, KEPT, HELD), 4, 0.01, 3)


@pytest.mark.parametrize("networks", [(KEPT,), (HELD,), ()])
def test_a_plan_needs_both_sides(networks):
    with pytest.raises(InputError, match="held out"):
        Plan(networks, 4, 0.01, 3)


def test_mixed_networks_run_both_precisions():
    network = PlannedNetwork("resnet20", "mixed", 32, 0.5, 8, 1, False)
    types = {placed.kernel.dtype for placed in lower(network.model()) if placed.kernel.op != ""}
    assert {"float", "uint8"} <= types


def test_chosen_blocks_are_quantised_and_no_others():
    model = FAMILIES["resnet20"](0, 32, 8, 0.5)
    integer = {
        placed.block
        for placed in lower(quantise_blocks(model, frozenset({"b0_0"})))
        if placed.kernel.op == "QLinearConv"
    }
    assert integer == {"b0_0"}


def test_drawn_blocks_are_some_of_the_network():
    model = FAMILIES["resnet20"](0, 32, 8, 0.5)
    blocks = {node.name.partition("/")[0] for node in model.graph.node}
    chosen = drawn_blocks(model, seed=0)
    assert chosen == drawn_blocks(model, seed=0)
    assert set() < chosen < blocks


def test_assorted_networks_have_the_operators_that_chains_lack():
    kernels = [p.kernel for seed in range(6) for p in lower(assorted_random(seed, 32, 16, 0.5))]
    operators = {kernel.op for kernel in kernels}
    assert {"Concat", "Mul", "Split", "Transpose"} <= operators
    assert any(group_key(kernel).endswith("|grouped") for kernel in kernels)
