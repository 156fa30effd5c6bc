"""Encoders of one convolution: what they begin as, and what trains."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import fx, nn

from edgekit.core.errors import InputError
from edgekit.core.progress import Progress
from edgekit.core.task import Split, Task
from edgekit.search.elastic.capture import captured
from edgekit.split.bottleneck import decoder, encoder
from edgekit.split.cutting import at_input
from edgekit.split.patches import PatchRecipe, begin
from edgekit.split.prior import FactorisedPrior
from edgekit.split.student import Student
from edgekit.split.training import StudentRecipe, recipe_in, trained_student
from edgekit.training.augment import to_tensor

QUIET = Progress(quiet=True)


@pytest.fixture(scope="module")
def images(digits_task: Task) -> torch.Tensor:
    return to_tensor(digits_task.train.images[:300], digits_task.preprocessing)


def begun(
    recipe: PatchRecipe, images: torch.Tensor
) -> tuple[nn.Sequential, nn.Sequential, FactorisedPrior]:
    torch.manual_seed(0)
    first, second = encoder(recipe), decoder(recipe, (3, 32, 32), 32 // recipe.downscale)
    prior = FactorisedPrior(recipe.channels)
    begin(first, second, prior, recipe, images)
    return first, second, prior


@pytest.mark.parametrize(("downscale", "kernel"), [(2, 4), (4, 4), (4, 8), (8, 8)])
def test_with_all_components_it_begins_as_the_image_itself(
    downscale: int, kernel: int, images: torch.Tensor
) -> None:
    recipe = PatchRecipe(3 * downscale**2, kernel, downscale, 8, 0.5)
    first, second, _ = begun(recipe, images)
    with torch.no_grad():
        torch.testing.assert_close(second(first(images)), images, atol=1e-3, rtol=1e-3)


def test_no_other_components_of_their_number_lose_less(images: torch.Tensor) -> None:
    """Against the singular values of the patches (Eckart & Young 1936)."""
    first, second, _ = begun(PatchRecipe(5, 4, 4, 8), images)
    patches = nn.functional.unfold(images, 4, stride=4).transpose(1, 2).flatten(0, 1)
    values = torch.linalg.svdvals(patches.double())
    with torch.no_grad():
        lost = float((second(first(images)) - images).double().square().sum())
    assert lost == pytest.approx(float(values[5:].square().sum()), rel=1e-3)


def test_the_prior_begins_with_the_spread_of_each_component(images: torch.Tensor) -> None:
    first, _, prior = begun(PatchRecipe(8, 4, 4, 8, 0.3), images)
    with torch.no_grad():
        latent = first(images).round()
        found = float(prior.bits(latent)) / latent.numel()
        untrained = float(FactorisedPrior(8).bits(latent)) / latent.numel()
    entropies = []
    for channel in latent.transpose(0, 1).flatten(1).numpy():
        _, counts = np.unique(channel, return_counts=True)
        shares = counts / counts.sum()
        entropies.append(-(shares * np.log2(shares)).sum())
    assert np.mean(entropies) <= found < np.mean(entropies) + 1.5
    assert found < untrained


def test_images_and_classes_are_learnt_and_a_next_price_begins_there(
    teacher: fx.GraphModule, digits_task: Task, tmp_path: Path
) -> None:
    train = Split(digits_task.train.images[:512], digits_task.train.labels[:512])
    task, cut = replace(digits_task, train=train), at_input(teacher)
    sizes = PatchRecipe(6, 8, 4, 8)
    cheap = StudentRecipe(1e-4, 15, sizes)
    first = trained_student(teacher, cut, task, cheap, tmp_path / "a", progress=QUIET)
    assert recipe_in(tmp_path / "a") == cheap
    dear = replace(cheap, beta=0.2)
    given = {"start": tmp_path / "a", "progress": QUIET}
    second = trained_student(teacher, cut, task, dear, tmp_path / "b", **given)  # type: ignore[arg-type]
    x = to_tensor(task.validation.images, task.preprocessing)
    labels = torch.from_numpy(task.validation.labels)
    with torch.no_grad():
        bits = [float(one.prior.bits(one.rounded(x))) for one in (first, second)]
        losses = [float(nn.functional.cross_entropy(net(x), labels)) for net in (first, teacher)]
    assert bits[1] < 0.9 * bits[0]
    assert losses[0] < losses[1] - 0.01  # the teacher was never trained
    with torch.no_grad():
        halves = [one.prior.logits(one.prior.quantiles[:, 1:2]) for one in (first, second)]
    assert max(float(half.abs().max()) for half in halves) < 1e-3  # medians of what was trained
    with pytest.raises(InputError, match="a student keeps its recipe"):
        trained_student(teacher, cut, task, dear, tmp_path / "b", progress=QUIET)
    with pytest.raises(InputError, match="a finished student is taken"):
        trained_student(
            teacher, cut, task, dear, tmp_path / "c", start=tmp_path / "no", progress=QUIET
        )


def test_a_network_that_has_no_cut_is_split_at_its_input(
    digits_task: Task, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 10))
    plain = captured(net, torch.zeros(2, 3, 32, 32)).requires_grad_(False)
    train = Split(digits_task.train.images[:64], digits_task.train.labels[:64])
    recipe = StudentRecipe(1e-3, 1, PatchRecipe(4, 4, 4, 8))
    cut = at_input(plain)
    task = replace(digits_task, train=train)
    student = trained_student(plain, cut, task, recipe, tmp_path, progress=QUIET)
    assert student(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_sizes_that_do_not_fit_are_refused(teacher: fx.GraphModule) -> None:
    for change, rule in (
        ({"downscale": 3}, "2, 4 or 8 pixels"),
        ({"channels": 49}, "1 to 48 components"),
        ({"kernel": 5}, "an even number more"),
        ({"step": 0.0}, "a step is above 0"),
    ):
        with pytest.raises(InputError, match=rule):
            PatchRecipe(**change)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="cut at the input"):
        decoder(PatchRecipe(), (16, 32, 32), 8)
    with pytest.raises(InputError, match="a multiple of 4"):
        Student(teacher, at_input(teacher), PatchRecipe(), 30)
