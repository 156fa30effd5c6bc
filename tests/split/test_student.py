"""Both stages of training, on digits and a small network."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import fx, nn

from edgekit.core.progress import Progress
from edgekit.core.task import Split, Task
from edgekit.split.bottleneck import BottleneckRecipe
from edgekit.split.cutting import cuts
from edgekit.split.student import (
    FeatureStage,
    Student,
    TaskStage,
    feature_objective,
    task_objective,
)
from edgekit.training.augment import to_tensor
from edgekit.training.loop import Objective, TrainRecipe, train

QUIET = Progress(quiet=True)
SIZES = BottleneckRecipe((8, 8), 4, 3, 4, 16)
STAGE = TrainRecipe(3, 32, 1e-2, optimizer="adam", small_share=0.0, mirror=False, ema_decay=0.9)


@pytest.fixture(scope="module")
def task(digits_task: Task) -> Task:
    """Digits, fewer of them."""

    def first(split: Split, n: int) -> Split:
        return Split(split.images[:n], split.labels[:n])

    return replace(digits_task, train=first(digits_task.train, 256))


def student_of(teacher: fx.GraphModule, task: Task) -> Student:
    torch.manual_seed(1)
    return Student(teacher, cuts(teacher)[0], SIZES, task.preprocessing.resolution)


def trained(
    model: nn.Module, objective: Objective, task: Task, *beside: nn.Module, n_epochs: float = 3
) -> None:
    recipe = replace(STAGE, n_epochs=n_epochs)
    train(model, objective, task, recipe, progress=QUIET, label="stage", beside=beside)


def weights(net: nn.Module) -> torch.Tensor:
    tensors = [*net.parameters(), *net.buffers()]
    return torch.cat([tensor.detach().flatten().double() for tensor in tensors]).clone()


def images_of(task: Task, n: int = 32) -> torch.Tensor:
    return to_tensor(task.validation.images[:n], task.preprocessing)


def distance(student: Student, teacher: fx.GraphModule, x: torch.Tensor) -> float:
    with torch.no_grad():
        return float((student(x) - teacher(x)).square().mean())


def test_the_first_stage_carries_features_and_leaves_the_second_half(
    teacher: fx.GraphModule, task: Task
) -> None:
    student, x = student_of(teacher, task), images_of(task)
    before, second, theirs = distance(student, teacher, x), weights(student.tail), weights(teacher)
    objective = feature_objective(student, teacher, 1e-3)
    trained(FeatureStage(student), objective, task, student.tail, teacher)
    assert distance(student, teacher, x) < 0.7 * before
    assert torch.equal(weights(student.tail), second)
    assert torch.equal(weights(teacher), theirs)


def test_dearer_bits_are_fewer(teacher: fx.GraphModule, task: Task) -> None:
    bits = []
    for beta in (1e-2, 10.0):
        student = student_of(teacher, task)
        objective = feature_objective(student, teacher, beta)
        stage = FeatureStage(student)
        trained(stage, objective, task, student.tail, teacher, n_epochs=40)
        with torch.no_grad():
            bits.append(float(student.prior.bits(student.rounded(images_of(task)))))
    assert bits[1] < 0.7 * bits[0]


def test_the_second_stage_leaves_what_was_baked_into_tables(
    teacher: fx.GraphModule, task: Task
) -> None:
    student = student_of(teacher, task)
    baked = weights(student.encoder), weights(student.prior)
    second = weights(student.tail)
    trained(TaskStage(student), task_objective(student, teacher), task, student, teacher)
    assert torch.equal(weights(student.encoder), baked[0])
    assert torch.equal(weights(student.prior), baked[1])
    assert not torch.equal(weights(student.tail), second)


def test_what_the_server_decodes_is_what_was_trained_on(
    teacher: fx.GraphModule, task: Task
) -> None:
    student, x = student_of(teacher, task), images_of(task, 6)
    side = student.latent_side
    tables = student.prior.tables("test", (SIZES.channels, side, side))
    with torch.no_grad():
        rounded, latents = student.rounded(x), student.encoder(x).numpy()
    for wanted, latent in zip(rounded, latents, strict=True):
        symbols = tables.decode(tables.encode(tables.symbols(latent)))
        assert torch.equal(torch.from_numpy(tables.latent(symbols)), wanted)
