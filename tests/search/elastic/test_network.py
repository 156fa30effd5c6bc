"""Any network: found, run in place, extracted."""

from __future__ import annotations

import pickle
import random

import numpy as np
import onnxruntime as ort
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edgekit.core.errors import InputError
from edgekit.search.elastic.network import Choice, ElasticNetwork
from tests.search.elastic.nets import NETS, Basic, made

EXAMPLE = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
OTHER = torch.randn(5, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def _drawn(elastic: ElasticNetwork, seed: int) -> Choice:
    rng = random.Random(seed)
    structure = elastic.structure
    return Choice(
        tuple(rng.randint(1, group.n_channels) for group in structure.groups),
        frozenset(b.exit for b in structure.branches if rng.random() < 0.4),
    )


@pytest.fixture(scope="module", params=NETS)
def pair(request):
    net = made(request.param)
    return net, ElasticNetwork(net, EXAMPLE)


def _n_parameters(net: nn.Module) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


def test_the_largest_choice_is_the_source(pair):
    net, elastic = pair
    with torch.no_grad():
        assert torch.equal(elastic(OTHER), net(OTHER))
    extracted = elastic.extract(elastic.largest)
    assert _n_parameters(extracted) == _n_parameters(net)
    assert set(dict(extracted.named_parameters())) == set(dict(net.named_parameters()))


def test_another_process_is_given_all_of_it(pair):
    _, elastic = pair
    rng = np.random.default_rng(3)
    elastic.sort([rng.permutation(group.n_channels) for group in elastic.structure.groups])
    sent = pickle.loads(pickle.dumps(elastic))
    assert str(sent.source.graph) == str(elastic.source.graph)
    assert sent.digest() == elastic.digest()
    assert sent.blocks == elastic.blocks
    assert sent.shapes() == elastic.shapes()
    for choice in (elastic.smallest, _drawn(elastic, 1)):
        elastic.choice = sent.choice = choice
        with torch.no_grad():
            assert torch.equal(sent(OTHER), elastic(OTHER))
    elastic.sort([np.arange(group.n_channels) for group in elastic.structure.groups])
    elastic.choice = elastic.largest


def test_what_is_extracted_answers_as_the_elastic_network_and_is_smaller(pair):
    net, elastic = pair
    for choice in [elastic.smallest, *(_drawn(elastic, seed) for seed in range(5))]:
        elastic.choice = choice
        extracted = elastic.extract(choice)
        with torch.no_grad():
            torch.testing.assert_close(extracted(OTHER), elastic(OTHER), rtol=0, atol=1e-5)
        assert _n_parameters(extracted) < _n_parameters(net)
        assert not any("edgekit" in type(module).__module__ for module in extracted.modules())


def test_everything_is_found():
    groups = {name: ElasticNetwork(made(name), EXAMPLE).structure for name in NETS}
    found = {name: sorted(g.n_channels for g in s.groups) for name, s in groups.items()}
    assert found == {
        "residual": [16, 16, 32, 32, 32],
        "inverted": [16, 16, 16, 64, 64],
        "grouped": [8],
        "transformer": [4, 4, 64, 64],
        "transformer, eager": [4, 4, 64, 64],
        "dense": [8, 8, 8, 16],
        "shuffle": [4, 4, 8, 12, 12],
        "padded": [16, 16, 32],
    }
    branches = {name: [b.name for b in s.branches] for name, s in groups.items()}
    assert branches["residual"] == ["3", "5"]
    assert branches["inverted"] == ["1.branch", "2.branch"]
    assert len(branches["transformer"]) == len(branches["transformer, eager"]) == 4
    assert not branches["dense"]
    assert all(not s.boundaries for s in groups.values())


def test_the_source_is_left_alone(pair):
    net, elastic = pair
    own = {parameter.data_ptr() for parameter in elastic.parameters()}
    assert own.isdisjoint(parameter.data_ptr() for parameter in net.parameters())
    assert len(own) == len(list(net.parameters()))


def test_each_module_of_the_source_keeps_its_mode():
    net = made("residual").train()
    net[3].eval()
    modes = [module.training for module in net.modules()]
    ElasticNetwork(net, EXAMPLE)
    assert [module.training for module in net.modules()] == modes


@pytest.mark.parametrize("name", ["residual", "inverted"])
def test_each_branch_left_out_alone_is_its_zero(name):
    net = made(name)
    elastic = ElasticNetwork(net, EXAMPLE)
    for branch in elastic.structure.branches:
        block = net.get_submodule(branch.name)
        last = block.norm2 if isinstance(block, Basic) else block
        handle = last.register_forward_hook(lambda _, __, out: torch.zeros_like(out))
        elastic.choice = Choice(elastic.largest.n_channels, frozenset({branch.exit}))
        with torch.no_grad():
            torch.testing.assert_close(elastic(OTHER), net(OTHER), rtol=0, atol=1e-5)
        handle.remove()


def test_the_order_of_a_group_says_what_stays():
    net = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 4, 1))
    elastic = ElasticNetwork(net, EXAMPLE)
    elastic.sort([np.array([5, 2, 7, 0, 1, 3, 4, 6])])
    extracted = elastic.extract(Choice((3,)))
    kept = extracted.get_parameter("0.weight")
    assert torch.equal(kept, net[0].weight[[2, 5, 7]])
    with pytest.raises(InputError, match=r"permutations of \[8\]"):
        elastic.sort([np.arange(7)])


def test_gradients_reach_what_runs_and_nothing_else():
    elastic = ElasticNetwork(made("residual"), EXAMPLE)
    halves = tuple(n // 2 for n in elastic.largest.n_channels)
    elastic.choice = Choice(halves, elastic.smallest.skipped)
    elastic(EXAMPLE).sum().backward()
    gradients = {name: p.grad for name, p in elastic.named_parameters() if p.grad is not None}
    assert "source.0.weight" in gradients
    assert "source.5.conv1.weight" not in gradients  # a branch that is left out
    for group in elastic.structure.groups:
        for (name, axis), places in group.places.items():
            if (gradient := gradients.get(f"source.{name}")) is not None:
                dropped = torch.from_numpy(places[len(places) // 2 :].ravel())
                assert gradient.index_select(axis, dropped).count_nonzero() == 0
    assert gradients["source.0.weight"][0].count_nonzero() > 0


@pytest.mark.parametrize("name", ["inverted", "transformer", "shuffle"])
def test_what_is_extracted_can_be_exported(name, tmp_path):
    elastic = ElasticNetwork(made(name), EXAMPLE)
    extracted = elastic.extract(_drawn(elastic, 3))
    path = tmp_path / "net.onnx"
    torch.onnx.export(extracted, (EXAMPLE,), path, dynamo=True, verbose=False)
    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: EXAMPLE.numpy()})
    with torch.no_grad():
        expected = extracted(EXAMPLE).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_an_operation_without_a_rule_is_a_boundary():
    class Sorted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 6, 1), nn.Conv2d(6, 4, 1)

        def forward(self, x):
            return self.c(F.relu(self.b(self.a(x).sort(1).values)))

    elastic = ElasticNetwork(Sorted(), EXAMPLE)
    assert [group.name for group in elastic.structure.groups] == ["b"]
    assert elastic.structure.boundaries == {"sort": 1}


def test_shared_weights_shrink_together():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.shared = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 1)
            self.last = nn.Conv2d(8, 4, 1)

        def forward(self, x):
            return self.last(self.shared(F.relu(self.shared(F.relu(self.first(x))))))

    net = Twice().eval()
    elastic = ElasticNetwork(net, EXAMPLE)
    (group,) = elastic.structure.groups
    assert group.n_channels == 8
    extracted = elastic.extract(Choice((3,)))
    assert extracted.get_parameter("shared.weight").shape == (3, 3, 1, 1)


def test_several_inputs_and_outputs_by_name():
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 8), nn.Linear(6, 8)
            self.c, self.d = nn.Linear(8, 3), nn.Linear(8, 2)

        def forward(self, left, right):
            x = F.relu(self.a(left) * self.b(right))
            return {"first": self.c(x), "second": self.d(x)}

    net = Two().eval()
    inputs = {"left": torch.randn(2, 4), "right": torch.randn(2, 6)}
    elastic = ElasticNetwork(net, inputs)
    elastic.choice = Choice((5,))
    extracted = elastic.extract(elastic.choice)
    with torch.no_grad():
        found, expected = extracted(**inputs), elastic(**inputs)
    assert set(found) == {"first", "second"}
    for name in found:
        torch.testing.assert_close(found[name], expected[name])


def test_what_cannot_vary_or_be_followed_is_refused(capfd):
    with pytest.raises(InputError, match="Linear has none: it has no two layers in a row"):
        ElasticNetwork(nn.Linear(4, 3), torch.zeros(2, 4))

    class Branching(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(InputError, match=r"follow a network, Branching stops it: .*py, line \d+"):
        ElasticNetwork(Branching(), torch.zeros(2, 4))
    assert capfd.readouterr() == ("", "")


def test_an_example_that_does_not_fit_is_refused():
    with pytest.raises(InputError, match="an example must be an input of its network, Sequential"):
        ElasticNetwork(made("residual"), torch.zeros(2, 5, 16, 16))
    with pytest.raises(InputError, match="give what its forward takes"):
        ElasticNetwork(made("residual"), ())


def test_a_network_that_fixes_its_batch_size_says_so():
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 3)

        def forward(self, x):
            return self.b(F.relu(self.a(x)).view(len(x), 8))

    elastic = ElasticNetwork(Fixed(), torch.zeros(2, 4))
    assert elastic(torch.zeros(2, 4)).shape == (2, 3)
    with pytest.raises(InputError, match="a batch of 2 as in its example, got 5"):
        elastic(torch.zeros(5, 4))


def test_a_choice_of_another_network_is_refused(pair):
    _, elastic = pair
    for choice in (Choice(()), Choice((0,) * len(elastic.structure.groups))):
        with pytest.raises(InputError, match="a choice keeps 1 to"):
            elastic.extract(choice)
    with pytest.raises(InputError, match="leaves out branches"):
        elastic.extract(Choice(elastic.largest.n_channels, frozenset({"nowhere"})))


def test_nothing_of_a_branch_left_out_is_computed() -> None:
    elastic = ElasticNetwork(made("residual"), EXAMPLE)
    branches = elastic.structure.branches
    gone = {name for branch in branches for name in branch.nodes}
    choice = Choice(elastic.largest.n_channels, frozenset(branch.exit for branch in branches))
    left = {node.name for node in elastic.extract(choice).graph.nodes}
    assert branches
    assert not left & gone
