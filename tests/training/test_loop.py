"""The training loop: schedule, averaging, and a resume that changes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from edgekit.core.errors import InputError
from edgekit.core.progress import Progress
from edgekit.core.task import Task
from edgekit.training.augment import to_tensor
from edgekit.training.checkpoint import load_checkpoint
from edgekit.training.loop import (
    Averaged,
    Step,
    TrainRecipe,
    schedule_at,
    three_quarters,
    train,
)
from edgekit.training.losses import cross_entropy
from edgekit.training.optimizer import OPTIMIZERS

RECIPE = TrainRecipe(n_epochs=4, batch_size=16, learning_rate=0.1, checkpoint_every=5)
QUIET = Progress(quiet=True)


class _Stop(Exception):
    pass


def _objective(net: nn.Module, stop_at: int | None = None) -> Callable[..., float]:
    n_called = 0

    def objective(x: torch.Tensor, y: torch.Tensor, step: Step) -> float:
        nonlocal n_called
        if n_called == stop_at:
            raise _Stop
        n_called += 1
        loss = cross_entropy(net(x), y, 0.1) * float(step.rng.uniform(0.5, 1.5))
        loss.backward()
        return float(loss.detach())

    return objective


def _train(net: nn.Module, task: Task, stop_at: int | None = None, **settings: object) -> None:
    recipe = settings.pop("recipe", RECIPE)
    train(net, _objective(net, stop_at), task, recipe, progress=QUIET, label="test", **settings)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_resumed_training_ends_with_the_same_bits(
    make_net: Callable[[], nn.Module], small_task: Task, tmp_path: Path, optimizer: str
) -> None:
    whole, cut = make_net(), make_net()
    recipe = replace(RECIPE, optimizer=optimizer, learning_rate=0.01)
    _train(whole, small_task, recipe=recipe)
    checkpoint = tmp_path / "state.safetensors"
    with pytest.raises(_Stop):
        _train(cut, small_task, stop_at=13, checkpoint=checkpoint, recipe=recipe)
    assert load_checkpoint(checkpoint).step == 10
    resumed = make_net()
    _train(resumed, small_task, checkpoint=checkpoint, recipe=recipe)
    expected, got = whole.state_dict(), resumed.state_dict()
    assert [k for k in expected if not torch.equal(expected[k], got[k])] == []


def test_a_finished_training_is_not_trained_again(
    make_net: Callable[[], nn.Module], small_task: Task, tmp_path: Path
) -> None:
    first, again = make_net(), make_net()
    _train(first, small_task, checkpoint=tmp_path / "state")
    _train(again, small_task, stop_at=0, checkpoint=tmp_path / "state")
    expected, got = first.state_dict(), again.state_dict()
    assert all(torch.equal(expected[name], got[name]) for name in expected)


def test_the_checkpoint_of_another_recipe_is_refused(
    make_net: Callable[[], nn.Module], small_task: Task, tmp_path: Path
) -> None:
    _train(make_net(), small_task, checkpoint=tmp_path / "state")
    other = replace(RECIPE, seed=1)
    with pytest.raises(InputError, match="recipe it began with"):
        _train(make_net(), small_task, recipe=other, checkpoint=tmp_path / "state")


def test_training_learns_the_digits(make_net: Callable[[], nn.Module], small_task: Task) -> None:
    net = make_net()
    recipe = replace(RECIPE, n_epochs=20, learning_rate=0.5, ema_decay=0.9, mirror=False)
    _train(net, small_task, recipe=recipe)
    x = to_tensor(small_task.train.images, small_task.preprocessing)
    with torch.no_grad():
        top1 = (net(x).argmax(1).numpy() == small_task.train.labels).mean()
    assert top1 > 0.4


def test_a_loss_that_is_not_finite_stops_the_training(
    make_net: Callable[[], nn.Module], small_task: Task
) -> None:
    recipe = replace(RECIPE, learning_rate=1e30)
    with pytest.raises(InputError, match="lower learning rate"):
        _train(make_net(), small_task, recipe=recipe)


def test_the_first_share_of_the_steps_sees_small_images(
    make_net: Callable[[], nn.Module], small_task: Task
) -> None:
    net, sides = make_net(), []

    def objective(x: torch.Tensor, y: torch.Tensor, step: Step) -> float:
        sides.append(x.shape[-1])
        return _objective(net)(x, y, step)

    recipe = replace(RECIPE, n_epochs=2, small_share=0.25)
    train(net, objective, small_task, recipe, progress=QUIET, label="test")
    assert sides == [24] * 3 + [32] * 9


def test_rates_rise_then_fall_along_a_cosine() -> None:
    shares = [schedule_at(step, 200) for step in range(200)]
    assert shares[:10] == pytest.approx([0.1 * (step + 1) for step in range(10)])
    assert shares[10] == 1
    assert shares[105] == pytest.approx(0.5)
    assert shares[199] == pytest.approx(0.5 * (1 + math.cos(math.pi * 189 / 190)))
    assert schedule_at(0, 1) == 1


def test_the_average_follows_its_formula() -> None:
    net = nn.Linear(1, 1, bias=False)
    nn.init.constant_(net.weight, 1.0)
    average = Averaged(net, 0.5)
    expected = 1.0
    for step, value in enumerate((2.0, 4.0, 8.0, -3.0)):
        nn.init.constant_(net.weight, value)
        average.update(net, step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
    average.copy_to(net)
    assert float(net.weight.detach()) == pytest.approx(expected, abs=1e-5)


def test_three_quarters_keeps_means_and_memory_format() -> None:
    x = torch.full((2, 3, 32, 32), 0.7)
    smaller = three_quarters(x)
    assert smaller.shape == (2, 3, 24, 24)
    assert smaller.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(smaller, torch.full((2, 3, 24, 24), 0.7))


@pytest.mark.parametrize(
    "changes",
    [
        {"n_epochs": 0},
        {"batch_size": 0},
        {"learning_rate": math.nan},
        {"filter_rate": 0.0},
        {"label_smoothing": 1.5},
        {"ema_decay": -0.1},
        {"small_share": math.nan},
        {"weight_decay": -1.0},
        {"seed": -1},
        {"sampling": "other"},
        {"optimizer": "other"},
        {"checkpoint_every": 0},
    ],
)
def test_values_out_of_range_are_refused_by_name(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=next(iter(changes))):
        replace(RECIPE, **changes)


def test_steps_follow_epochs_and_batches() -> None:
    assert replace(RECIPE, n_epochs=2.5).n_steps(100) == 15
    assert replace(RECIPE, n_epochs=0.001).n_steps(100) == 1
