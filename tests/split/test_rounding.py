"""Encoders of patches that are trained for int8 compute what their int8 export does."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch
from torch import fx

from edgekit.core.errors import InputError
from edgekit.core.progress import Progress
from edgekit.core.target import Target
from edgekit.core.task import Split, Task
from edgekit.devices.measuring.session import open_session
from edgekit.export.quantise import quantise_blocks
from edgekit.split.bottleneck import SMALL
from edgekit.split.cutting import at_input, first_stage
from edgekit.split.halves import ENCODER, MANIFEST, encoder_model, write_halves
from edgekit.split.patches import PatchRecipe
from edgekit.split.student import Student
from edgekit.split.training import StudentRecipe, begin_with, trained_student
from edgekit.training.augment import to_tensor

QUIET = Progress(quiet=True)


@pytest.mark.parametrize("width", [0, 8])
def test_latents_are_those_of_the_exported_network(
    width: int, teacher: fx.GraphModule, digits_task: Task
) -> None:
    torch.manual_seed(0)
    student = Student(teacher, at_input(teacher), PatchRecipe(6, width=width), 32, 127).eval()
    begin_with(student, digits_task)
    if width:
        torch.nn.init.normal_(student.encoder[0].added[-1].weight)
    calibration = digits_task.preprocessing.apply(digits_task.calibration.images)
    assert student.rounding is not None
    student.rounding.fix(student.encoder, torch.from_numpy(calibration))
    model = quantise_blocks(encoder_model(student, 32), ["encoder"], calibration)
    x = digits_task.preprocessing.apply(digits_task.test.images[:20])
    (wanted,) = open_session(model, n_threads=1).run(None, {"input": x})
    with torch.no_grad():
        found = student.latent(torch.from_numpy(x))
        plain = student.encoder(torch.from_numpy(x))
    low, high = student.rounding.ranges[-1].tolist()
    step = (high - low) / 255
    apart = (found - torch.from_numpy(wanted)).abs()
    assert apart.max() < 1.01 * step
    assert (apart < 0.01 * step).float().mean() > 0.99
    assert 0.1 * step < (found - plain).abs().mean() < 3 * step


def test_in_training_each_batch_has_its_own_ranges_and_gradients_pass(
    teacher: fx.GraphModule, digits_task: Task
) -> None:
    student = Student(teacher, at_input(teacher), PatchRecipe(6), 32, 127)
    begin_with(student, digits_task)
    x = to_tensor(digits_task.train.images[:10], digits_task.preprocessing)
    latent = student.train().latent(x)
    assert len(latent.unique()) <= 256
    (gradient,) = torch.autograd.grad(latent.square().sum(), [student.encoder[0].weight])
    assert (gradient != 0).flatten(1).any(dim=1).all()
    assert torch.equal(latent, student.latent(x / 2) * 2)


def test_an_encoder_that_is_trained_for_int8_is_written_so(
    teacher: fx.GraphModule, digits_task: Task, tmp_path: Path
) -> None:
    train = Split(digits_task.train.images[:256], digits_task.train.labels[:256])
    task, cut = replace(digits_task, train=train), at_input(teacher)
    plain = StudentRecipe(1e-4, 1, PatchRecipe(6, 8, 4, 8))
    trained_student(teacher, cut, task, plain, tmp_path / "float", progress=QUIET)
    recipe = replace(plain, int8_weight_max=127)
    given = {"start": tmp_path / "float", "progress": QUIET}
    student = trained_student(teacher, cut, task, recipe, tmp_path / "int8", **given)  # type: ignore[arg-type]
    again = trained_student(teacher, cut, task, recipe, tmp_path / "int8", **given)  # type: ignore[arg-type]
    assert student.rounding is not None
    assert again.rounding is not None
    assert torch.equal(student.rounding.ranges, again.rounding.ranges)
    halves = write_halves(tmp_path / "halves", student, task, Target(), {})
    note = json.loads((halves.folder / MANIFEST).read_text())["provenance"]["encoder"]
    assert note == "int8: trained for it"
    operators = [node.op_type for node in onnx.load_from_string(halves.model(ENCODER)).graph.node]
    assert "QuantizeLinear" in operators
    x = task.preprocessing.apply(task.test.images[:20])
    (latents,) = open_session(halves.model(ENCODER), n_threads=1).run(None, {"input": x})
    with torch.no_grad():
        wanted = student.rounded(torch.from_numpy(x)).numpy()
    for latent, sent in zip(latents, wanted, strict=True):
        received = halves.tables.latent(halves.tables.symbols(latent))
        assert (received != sent).mean() < 0.01


def test_the_published_encoder_is_not_trained_for_int8(teacher: fx.GraphModule) -> None:
    with pytest.raises(InputError, match="trained for int8 with patches only"):
        Student(teacher, first_stage(teacher), SMALL, 32, 127)


def test_a_start_of_other_sizes_is_refused_and_one_of_int8_is_taken(
    teacher: fx.GraphModule, digits_task: Task, tmp_path: Path
) -> None:
    train = Split(digits_task.train.images[:64], digits_task.train.labels[:64])
    task, cut = replace(digits_task, train=train), at_input(teacher)
    recipe = StudentRecipe(1e-4, 1, PatchRecipe(6, 8, 4, 8), int8_weight_max=127)
    trained_student(teacher, cut, task, recipe, tmp_path / "int8", progress=QUIET)
    given = {"start": tmp_path / "int8", "progress": QUIET}
    plain = replace(recipe, int8_weight_max=None)
    student = trained_student(teacher, cut, task, plain, tmp_path / "float", **given)  # type: ignore[arg-type]
    assert student.rounding is None
    other = replace(plain, sizes=PatchRecipe(5, 8, 4, 8))
    with pytest.raises(InputError, match="begins as one of its sizes"):
        trained_student(teacher, cut, task, other, tmp_path / "other", **given)  # type: ignore[arg-type]
    assert not (tmp_path / "other").exists()
