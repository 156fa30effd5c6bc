"""Real processes that train one model together."""

from __future__ import annotations

import os
import signal
from functools import partial

import pytest
import torch
from torch import nn

from edgekit.core.errors import EdgekitError, InputError
from edgekit.core.progress import Progress
from edgekit.core.task import Task
from edgekit.training.distil import labelled_objective
from edgekit.training.loop import TrainRecipe, train
from edgekit.training.ranks import Ranks, together

RECIPE = TrainRecipe(n_epochs=3, batch_size=32, learning_rate=0.05, mirror=False)


def plain_net() -> nn.Module:
    """Without batch norm, whose statistics would be those of a share."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10))


def trained(task: Task, ranks: Ranks, *, dies: bool = False) -> nn.Module:
    net = plain_net()
    if dies and not ranks.is_first:
        os.kill(os.getpid(), signal.SIGKILL)
    train(
        net,
        labelled_objective(net, 0.05),
        task,
        RECIPE,
        progress=Progress(quiet=True),
        label="training",
        ranks=ranks,
    )
    return net


def work(task: Task, dies: bool, ranks: Ranks) -> None:
    trained(task, ranks, dies=dies)


def test_two_processes_train_what_one_does(small_task: Task) -> None:
    n_threads = torch.get_num_threads()
    alone = trained(small_task, Ranks())
    with together(2, partial(work, small_task, False)) as ranks:
        both = trained(small_task, ranks)
    before = plain_net().state_dict()
    moved = max(float((v - before[k]).abs().max()) for k, v in alone.state_dict().items())
    assert moved > 0.02
    for name, value in both.state_dict().items():
        torch.testing.assert_close(value, alone.state_dict()[name], rtol=0, atol=1e-4)
    assert torch.get_num_threads() == n_threads
    assert not torch.distributed.is_initialized()


def test_a_process_that_dies_ends_the_training(small_task: Task) -> None:
    with (
        pytest.raises(EdgekitError, match=r"one ended: .*goes on from the checkpoint"),
        together(2, partial(work, small_task, True)) as ranks,
    ):
        trained(small_task, ranks)
    assert not torch.distributed.is_initialized()


def test_a_batch_that_cannot_be_shared_is_refused() -> None:
    with pytest.raises(InputError, match=r"got 5 images for 2; take a divisor"):
        Ranks(1, 2).share(torch.zeros(5, 3, 8, 8), torch.zeros(5))


def test_shares_are_all_of_a_batch() -> None:
    x, y = torch.arange(6.0), torch.arange(6)
    shares = [Ranks(rank, 3).share(x, y) for rank in range(3)]
    assert sorted(torch.cat([x for x, _ in shares]).tolist()) == x.tolist()
    assert [y.tolist() for _, y in shares] == [[0, 3], [1, 4], [2, 5]]
