"""A training on a GPU against the same on the CPU; and where there is none."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from torch import fx, nn

from edgekit.core.progress import Progress
from edgekit.core.task import Task
from edgekit.search.elastic.capture import captured
from edgekit.search.mbconv.space import MBConvRecipe, MBConvSpace
from edgekit.search.proxyless.network import OverNetwork
from edgekit.search.proxyless.paths import drawn
from edgekit.training import ranks
from edgekit.training.device import CPU, placed, training_device
from edgekit.training.distil import distilling_objective
from edgekit.training.loop import TrainRecipe, train
from edgekit.training.ranks import Ranks, together

SPACE = MBConvSpace(MBConvRecipe.for_task(32, 10))
RECIPE = TrainRecipe(n_epochs=3, batch_size=32, learning_rate=0.05, mirror=False)

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")


class Shifting(nn.Module):
    """Makes a tensor of its own while it runs."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) + torch.arange(4, device=x.device)


def net(width: int = 8) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, width, 3, 2, 1), nn.ReLU(), nn.Conv2d(width, 16, 3, 2, 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))


def taught(task: Task, of: Ranks) -> nn.Module:
    student, teacher = net(), net(12)
    train(
        student,
        distilling_objective(student, teacher, 0.05),
        task,
        RECIPE,
        progress=Progress(quiet=True),
        label="training",
        ranks=of,
        beside=(teacher,),
    )
    assert {p.device for p in teacher.parameters()} == {CPU}
    return student


def work(task: Task, of: Ranks) -> None:
    taught(task, of)


def assert_alike(mine: nn.Module, theirs: nn.Module) -> None:
    wanted = theirs.state_dict()
    for name, value in mine.state_dict().items():
        torch.testing.assert_close(value, wanted[name], rtol=0, atol=5e-3)


def test_processes_share_the_gpus_or_take_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [str(training_device(rank)) for rank in range(3)] == ["cuda:0", "cuda:1", "cuda:0"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert training_device(1) == CPU


def test_on_the_cpu_nothing_moves() -> None:
    module = net()
    before = list(module.parameters())
    with placed([module], CPU):
        assert all(a is b for a, b in zip(before, module.parameters(), strict=True))


def test_gates_stay_where_they_are() -> None:
    over = OverNetwork(SPACE, 1, 0, 127).to("meta")
    assert over.gates.alpha.device == CPU
    assert over.stem.get_parameter("conv.conv.weight").device.type == "meta"


@on_gpu
def test_a_gpu_trains_what_the_cpu_does(small_task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    there = taught(small_task, Ranks())
    assert {p.device for p in there.parameters()} == {CPU}
    monkeypatch.setattr(ranks, "training_device", lambda rank: CPU)
    assert_alike(there, taught(small_task, Ranks()))


@on_gpu
def test_processes_on_gpus_train_what_one_does(small_task: Task) -> None:
    alone = taught(small_task, Ranks())
    with together(2, partial(work, small_task)) as of:
        assert_alike(taught(small_task, of), alone)


@on_gpu
def test_a_graph_makes_its_tensors_where_it_runs() -> None:
    graph = captured(Shifting(), torch.zeros(2, 4))
    x = torch.ones(3, 4)
    wanted = graph(x)
    parameter = next(graph.parameters())
    with placed([graph], training_device()):
        there = graph(x.to(training_device()))
        assert there.device == training_device()
    torch.testing.assert_close(there.cpu(), wanted, rtol=0, atol=1e-2)
    torch.testing.assert_close(graph(x), wanted)
    assert next(graph.parameters()) is parameter
    assert isinstance(graph, fx.GraphModule)


@on_gpu
def test_an_over_parameterised_network_runs_there() -> None:
    over = OverNetwork(SPACE, 1, 0, 127)
    paths = drawn(over.gates.probabilities(), 1, np.random.default_rng(0))[0]
    x = torch.randn(8, 3, 32, 32)
    with torch.no_grad():
        wanted = over(x, paths)
        with placed([over], training_device()):
            there = over(x.to(training_device()), paths).cpu()
    assert float((there - wanted).abs().mean()) < 0.1 * float(wanted.std())
