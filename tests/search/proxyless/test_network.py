"""The over-parameterised network: its paths, its gates' gradients, and what it keeps alive."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from edgekit.core.candidate import Candidate
from edgekit.core.task import Split, Task
from edgekit.search.mbconv.network import MBConvNet
from edgekit.search.mbconv.space import OPERATIONS, SKIP, MBConvRecipe, MBConvSpace, Stage
from edgekit.search.proxyless.network import OverNetwork
from edgekit.search.proxyless.paths import Indices, drawn, genes_of_paths
from edgekit.search.proxyless.training import frozen
from edgekit.training.layers import folded
from edgekit.training.simulate import blocks_of, record_ranges, simulated

RECIPE = MBConvRecipe(32, 10, 16, 2, 16, (Stage(16, 2, 2), Stage(32, 2, 2)), 64)
SPACE = MBConvSpace(RECIPE)


def network() -> OverNetwork:
    torch.manual_seed(0)
    return OverNetwork(SPACE, 1, 0, 127)


def images(n: int = 8) -> torch.Tensor:
    return torch.randn(n, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def random_paths(net: OverNetwork, seed: int) -> Indices:
    return drawn(net.gates.probabilities(), 1, np.random.default_rng(seed))[0]


def plain(net: OverNetwork, paths: Indices) -> tuple[MBConvNet, Candidate]:
    """The network that the paths are, with the same weights."""
    candidate = Candidate(tuple(genes_of_paths(net.points, paths[None])[0].tolist()))
    architecture = SPACE.decode(candidate)
    result = MBConvNet(SPACE, architecture)
    result.stem.load_state_dict(net.stem.state_dict())
    result.head.load_state_dict(net.head.state_dict())
    for position, block in zip(net.positions, architecture.blocks, strict=True):
        if block.operation is not None:
            assert isinstance(position, nn.ModuleList)
            source = position[OPERATIONS.index(block.operation)]
            target = result.blocks.get_submodule(block.position.name)
            target.load_state_dict(source.state_dict())
    return result.train(), candidate


def test_float_paths_compute_what_the_network_of_their_genes_computes() -> None:
    net = network()
    for seed in range(5):
        paths = random_paths(net, seed)
        for index, point in enumerate(net.points):
            # The same operation in float32.
            value = point.values[paths[index]].copy()
            value[-1] = 0
            paths[index] = np.flatnonzero((point.values == value).all(axis=1))[0]
        expected, _ = plain(net, paths)
        torch.testing.assert_close(net(images(), paths), expected(images()))


def test_int8_paths_round_as_the_simulated_network_does(digits_task: Task) -> None:
    """As noisy; a rounding that falls to the other side changes all that follow."""
    net, split = network(), digits_task.calibration
    part = Split(split.images[:64], split.labels[:64])
    x = torch.from_numpy(digits_task.preprocessing.apply(part.images))
    paths = random_paths(net, 0)
    for index, point in enumerate(net.points):
        value = point.values[paths[index]].copy()
        value[-1] = 1 if len(value) == 1 or value[0] < len(OPERATIONS) else 0
        paths[index] = np.flatnonzero((point.values == value).all(axis=1))[0]
    net_alone, _ = plain(net, paths)
    for module in net_alone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        exact = net_alone(x)
        ready = folded(net_alone)
        ranges = record_ranges(ready, part, digits_task.preprocessing)
        with simulated(ready, set(blocks_of(ready)), ranges):
            expected = ready(x)
        found = net(x, paths)
    noise = (expected - exact).pow(2).mean()
    assert (found - exact).pow(2).mean() == pytest.approx(float(noise), rel=0.3)
    assert 0 < noise < 0.05 * exact.var()


def test_gates_get_the_product_of_gradient_and_output() -> None:
    net, rng = network(), np.random.default_rng(0)
    pairs, active = net.gates.pairs(rng)
    chosen = pairs[np.arange(len(pairs)), active]
    logits, gates = net.gated(images(), pairs, active)
    torch.testing.assert_close(logits, net(images(), chosen))
    found = torch.autograd.grad(logits.square().mean(), gates)
    # The last point by hand: what the head gives, and what its other precision would give.
    before = images()
    for index, path in enumerate(chosen[:-1]):
        before = net._path(index, int(path), before)
    both = [net._path(len(chosen) - 1, int(path), before) for path in pairs[-1]]
    slope = 2 * both[active[-1]] / logits.numel()
    expected = torch.stack([(slope * output).sum() for output in both])
    torch.testing.assert_close(found[-1], expected, rtol=1e-4, atol=1e-6)


def test_only_the_drawn_path_learns() -> None:
    net = network()
    paths = random_paths(net, 3)
    net(images(), paths).sum().backward()
    for index, position in enumerate(net.positions):
        assert isinstance(position, nn.ModuleList)
        operation = net.points[index + 1].values[paths[index + 1]][0]
        learns = [any(p.grad is not None for p in block.parameters()) for block in position]
        assert learns == [number == operation for number in range(len(position))]


def _kept_bytes(run: Callable[[], object]) -> int:
    """Bytes of the tensors that a forward pass keeps for the backward pass, each once."""
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        alive = run()
    del alive
    return sum(kept.values())


def test_memory_is_that_of_one_path_however_many_there_are() -> None:
    net, x = network(), images(16)
    largest = np.array([len(p.values) - 1 - (p.values[-1][0] == SKIP) for p in net.points])
    one = _kept_bytes(lambda: net(x, largest))
    with frozen(net):
        pairs, active = np.stack([largest, largest - 1], axis=1), np.zeros_like(largest)
        two = _kept_bytes(lambda: net.gated(x, pairs, active))
    all_of_them = _kept_bytes(lambda: _mixed(net, x))
    assert two < 1.5 * one < all_of_them / 3


def _mixed(net: OverNetwork, x: torch.Tensor) -> torch.Tensor:
    """The mean of all paths of every point, for comparison."""
    for index, point in enumerate(net.points):
        x = torch.stack([net._path(index, path, x) for path in range(len(point))]).mean(0)
    return x
