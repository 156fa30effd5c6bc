"""The Entropic Student: a bottleneck that replaces the first part of a network, and its training.

images -> encoder -> latent ~~ noise or rounding ~~> decoder -> second half of the teacher

Matsubara et al. 2022 (arXiv 2108.11898). Stage 1 trains encoder, prior and decoder to carry the
teacher's features in few bits; then tables are fixed; stage 2 trains decoder and second half on
what the tables code. An encoder of patches trains with everything behind it in stage 1
(``joint_objective``).
"""

from __future__ import annotations

import copy
from functools import cache

import torch
from torch import fx, nn

from edgekit.core.errors import InputError
from edgekit.search.elastic.capture import with_outputs
from edgekit.search.elastic.folding import folded
from edgekit.split.bottleneck import Recipe, decoder, encoder
from edgekit.split.cutting import Cut, levels_after, stage_ends, tail
from edgekit.split.patches import PatchRecipe
from edgekit.split.prior import FactorisedPrior
from edgekit.split.rounding import EncoderRounding
from edgekit.training.autocast import fast_products
from edgekit.training.loop import Objective, Step
from edgekit.training.losses import cross_entropy, distillation


class Student(nn.Module):
    """Both halves, and the prior of what goes between them.

    Its second half starts with the teacher's weights. Batch norms keep the teacher's statistics
    in both stages: images of a batch of training must not move what the server was given.

    Args:
        teacher: captured.
        cut: where the decoder takes over.
        recipe: sizes of the bottleneck.
        side: of the images, a multiple of the downscale.
        int8_weight_max: largest magnitude of a weight, 1..127, of an encoder of patches that
            computes as if it were int8; None for float32.

    Raises:
        InputError: sizes that do not fit together.
    """

    def __init__(
        self,
        teacher: fx.GraphModule,
        cut: Cut,
        recipe: Recipe,
        side: int,
        int8_weight_max: int | None = None,
    ) -> None:
        super().__init__()
        if side % recipe.downscale:
            raise InputError(
                f"images of a split network are a multiple of {recipe.downscale} pixels wide, got "
                f"{side}; give another --resolution"
            )
        self.cut, self.recipe, self._side = cut, recipe, side
        self.encoder, self.rounding = encoder(recipe), None
        if int8_weight_max is not None:
            if not isinstance(recipe, PatchRecipe):
                raise InputError(
                    "an encoder is trained for int8 with patches only, got the sizes of another; "
                    "leave int8 out: it is taken afterwards where it pays"
                )
            self.rounding = EncoderRounding(recipe, int8_weight_max)
        self.prior = FactorisedPrior(recipe.channels)
        self.decoder = decoder(recipe, cut.shape, side // recipe.downscale)
        self.tail = copy.deepcopy(tail(teacher, cut))

    @property
    def latent_side(self) -> int:
        """Height and width of a latent."""
        return self._side // self.recipe.downscale

    def latent(self, x: torch.Tensor) -> torch.Tensor:
        """What the encoder makes of images, in its precision."""
        found: torch.Tensor = (
            self.encoder(x) if self.rounding is None else self.rounding(self.encoder, x)
        )
        return found

    def rounded(self, x: torch.Tensor) -> torch.Tensor:
        """What the coder makes of images' latents: rounded around the medians."""
        medians = self.prior.medians[:, None, None]
        return (self.latent(x) - medians).round() + medians

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits ``(batch, classes)`` by way of rounded latents."""
        logits: torch.Tensor = self.tail(self.decoder(self.rounded(x)))
        return logits


class FeatureStage(nn.Module):
    """What stage 1 trains: everything but the second half."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.encoder, self.prior, self.decoder = student.encoder, student.prior, student.decoder


class WholeStage(nn.Module):
    """What stage 1 trains of a student of patches: all of it."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student


class DecoderStage(nn.Module):
    """What stage 1 trains behind an encoder that is there already: the decoder."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.decoder = student.decoder


class TaskStage(nn.Module):
    """What stage 2 trains: decoder and second half."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.decoder, self.tail = student.decoder, student.tail


def feature_objective(student: Student, teacher: fx.GraphModule, beta: float | None) -> Objective:
    """Stage 1: squared distances of features and ``beta`` times the bits, summed over a batch.

    Features are compared at the cut and at up to three places behind it. The loss of the quantiles
    is taken in the same step; it moves nothing else.

    Args:
        student: its second half is not trained.
        teacher: captured.
        beta: price of a bit, above 0; it is tied to sums over features, not to their means. None
            where encoder and prior are fixed: features are carried by rounded latents then.

    Returns:
        For ``edgekit.training.loop.train`` with ``FeatureStage(student)``, or without a price with
        ``DecoderStage(student)``; both networks must be moved along with it.
    """
    student.tail.requires_grad_(False)

    @cache
    def both() -> tuple[fx.GraphModule, fx.GraphModule]:
        """Made in the first step: a module that goes to a GPU gets other buffers.

        Neither is trained, so that their batch norms are folded.
        """
        levels = levels_after(teacher, student.cut)
        theirs = folded(with_outputs(teacher, [student.cut.name, *levels]))
        return folded(with_outputs(student.tail, levels)).requires_grad_(False), theirs

    def objective(x: torch.Tensor, y: torch.Tensor, step: Step) -> float:
        second, whole = both()
        given, price = _carried(student, x, beta, step)
        with fast_products():
            with torch.no_grad():
                _, *wanted = whole(x)
            carried = student.decoder(given)
            _, *later = second(carried)
        pairs = zip([carried, *later], wanted, strict=True)
        loss = sum((a.float() - b.float()).square().sum() for a, b in pairs) + price
        (loss if beta is None else loss + student.prior.quantile_loss()).backward()
        return float(loss.detach()) / len(x)

    return objective


def joint_objective(student: Student, teacher: fx.GraphModule, beta: float | None) -> Objective:
    """Stage 1 of patches: classes, the teacher's answers and features, and bits, at once.

    Half the labels and half the answers, as in stage 2; the distance of features at the ends of
    stages, each relative to its variance, on average; and ``beta`` times the bits of an image. The
    quantiles of the prior are not trained: they are found afterwards (``FactorisedPrior.settle``).

    Args:
        student: of patches, cut at the input.
        teacher: captured.
        beta: price of a bit in nats, above 0. None where encoder and prior are fixed.

    Returns:
        For ``edgekit.training.loop.train`` with ``WholeStage(student)``, or without a price with
        ``TaskStage(student)``; all of the student and the teacher must be moved along with it.
    """
    names = stage_ends(teacher, student.cut)

    @cache
    def both() -> tuple[fx.GraphModule, fx.GraphModule]:
        return with_outputs(student.tail, names), folded(with_outputs(teacher, names))

    def objective(x: torch.Tensor, y: torch.Tensor, step: Step) -> float:
        second, whole = both()
        mean = None if beta is None else beta / len(x)
        given, price = _carried(student, x, mean, step)
        with fast_products():
            with torch.no_grad():
                answers, *wanted = whole(x)
            logits, *found = second(student.decoder(given))
        distance = x.new_zeros(())
        for ours, theirs in zip(found, wanted, strict=True):
            part = (ours.float() - theirs.float()).square().mean() / theirs.float().var()
            distance = distance + part / len(names)
        classes = 0.5 * cross_entropy(logits.float(), y, 0.0)
        classes = classes + 0.5 * distillation(logits.float(), answers.float())
        loss = classes + distance + price
        loss.backward()
        return float(loss.detach())

    return objective


def _carried(
    student: Student, x: torch.Tensor, beta: float | None, step: Step
) -> tuple[torch.Tensor, torch.Tensor]:
    """What the decoder is given of images, and the price of its bits."""
    if beta is None:
        with torch.no_grad():
            return student.rounded(x), x.new_zeros(())
    latent = student.latent(x)
    noisy = latent + _noise(latent, step)
    return noisy, beta * student.prior.bits(noisy)


def task_objective(student: Student, teacher: nn.Module) -> Objective:
    """Stage 2: half the labels, half the teacher's answers, on rounded latents.

    Args:
        student: its encoder and prior are not trained.
        teacher: images to logits, in evaluation mode.

    Returns:
        For ``edgekit.training.loop.train`` with ``TaskStage(student)``.
    """
    student.tail.requires_grad_(True)

    def objective(x: torch.Tensor, y: torch.Tensor, step: Step) -> float:
        with torch.no_grad():
            latent = student.rounded(x)
            with fast_products():
                target = teacher(x).float()
        with fast_products():
            logits = student.tail(student.decoder(latent)).float()
        loss = 0.5 * cross_entropy(logits, y, 0.0) + 0.5 * distillation(logits, target)
        loss.backward()
        return float(loss.detach())

    return objective


def _noise(latent: torch.Tensor, step: Step) -> torch.Tensor:
    """Uniform over -1/2..1/2, the same when a training goes on."""
    generator = torch.Generator(latent.device)
    generator.manual_seed(int(step.rng.integers(2**62)))
    drawn = torch.rand(latent.shape, generator=generator, device=latent.device)
    return drawn - 0.5
