"""Shared weights: nested, extracted as they run, trained by the sandwich."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgekit.core.candidate import Candidate
from edgekit.search.mbconv.network import InvertedResidual
from edgekit.search.mbconv.space import OPERATIONS, MBConvSpace
from edgekit.search.mbconv.supernet import (
    SuperBlock,
    Supernet,
    random_architecture,
    sandwich_objective,
)
from edgekit.training.loop import Step
from edgekit.training.losses import cross_entropy, distillation
from tests.search.synthetic import drawn


@pytest.fixture
def net(space: MBConvSpace) -> Supernet:
    torch.manual_seed(0)
    net = Supernet(space)
    for parameter in net.parameters():
        if parameter.ndim == 1:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    return net


def _batch(n: int = 8) -> torch.Tensor:
    return torch.randn(n, 3, 32, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_smaller_kernels_are_centres_and_smaller_expansions_first_channels(
    operation: tuple[int, int],
) -> None:
    block = SuperBlock(8, 8, 1)
    kernel, expansion = operation
    cut, mid = (7 - kernel) // 2, 8 * expansion
    state, full = block.weights_of(operation), block.full.state_dict()
    assert torch.equal(state["expand.conv.weight"], full["expand.conv.weight"][:mid])
    centre = full["depthwise.conv.weight"][:mid, :, cut : 7 - cut, cut : 7 - cut]
    assert torch.equal(state["depthwise.conv.weight"], centre)
    assert torch.equal(state["project.conv.weight"], full["project.conv.weight"][:, :mid])
    assert torch.equal(state["depthwise.bn.weight"], full["depthwise.bn.weight"][:mid])
    assert torch.equal(state["project.bn.bias"], full["project.bn.bias"])
    InvertedResidual(8, mid, 8, kernel, 1).load_state_dict(state)


def test_an_extracted_network_computes_what_the_supernet_does(
    space: MBConvSpace, net: Supernet
) -> None:
    x = _batch()
    for candidate in [space.largest(), space.smallest(), *drawn(space, 6, 2)]:
        with torch.no_grad():
            expected = net.train()(x, candidate)
            got = net.extract(candidate).train()(x)
        torch.testing.assert_close(got, expected, atol=2e-5, rtol=1e-4)


def test_an_extracted_network_owns_its_tensors(space: MBConvSpace, net: Supernet) -> None:
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    extracted = net.extract(space.smallest())
    with torch.no_grad():
        for parameter in extracted.parameters():
            parameter.zero_()
    assert all(torch.equal(before[name], tensor) for name, tensor in net.state_dict().items())
    sizes = {t.untyped_storage().nbytes() - t.nbytes for t in extracted.state_dict().values()}
    assert sizes == {0}


def test_precision_genes_do_not_change_the_supernet(space: MBConvSpace, net: Supernet) -> None:
    plain = space.uniform(2, space.decode(space.largest()).stem)
    mixed = Candidate((*plain.genes[: space.n_positions], 1, 0, 1, 0, 1, 1))
    with torch.no_grad():
        assert torch.equal(net(_batch(), plain), net(_batch(), mixed))


def test_the_sandwich_adds_the_gradients_of_its_networks(
    space: MBConvSpace, net: Supernet
) -> None:
    x, y = _batch(), torch.arange(8)
    objective = sandwich_objective(net, 0.1, 2)
    seed = next(s for s in range(50) if _draws(space, s)[1] >= 0.25)
    loss = objective(x, y, Step(np.random.default_rng(seed), 0.0))
    summed = [p.grad.clone() for p in net.parameters() if p.grad is not None]
    net.zero_grad()
    logits = net(x, space.largest())
    expected = cross_entropy(logits, y, 0.1)
    total = expected + sum(distillation(net(x, c), logits) for c in _draws(space, seed)[0])
    total.backward()
    again = [p.grad for p in net.parameters() if p.grad is not None]
    assert loss == pytest.approx(expected.item(), rel=1e-5)
    for first, second in zip(summed, again, strict=True):
        torch.testing.assert_close(first, second, atol=1e-5, rtol=1e-4)


def _draws(space: MBConvSpace, seed: int) -> tuple[list[Candidate], float]:
    rng = np.random.default_rng(seed)
    return [random_architecture(space, rng) for _ in range(2)], rng.random()


def test_the_largest_alone_gives_every_weight_a_gradient(net: Supernet) -> None:
    sandwich_objective(net, 0.0, 0)(_batch(), torch.arange(8), Step(np.random.default_rng(0), 0.0))
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in net.parameters())


def test_random_architectures_are_candidates_in_fp32(space: MBConvSpace) -> None:
    rng = np.random.default_rng(0)
    drawn = [random_architecture(space, rng) for _ in range(300)]
    for candidate in drawn:
        space.check(candidate)
    genes = np.array([candidate.genes for candidate in drawn])
    assert genes[:, space.n_positions :].max() == 0
    assert genes[:, : space.n_positions].max(0).tolist() == [5, 6, 5, 6]
