"""The training loop: cosine decay, averaged weights, and a resume that changes nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from edgekit.core.errors import InputError
from edgekit.core.progress import Progress
from edgekit.core.task import Task
from edgekit.training.augment import steps_per_epoch, training_batches
from edgekit.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from edgekit.training.device import placed
from edgekit.training.memory import keep_freed_memory
from edgekit.training.optimizer import OPTIMIZERS, optimizer_of
from edgekit.training.ranks import ALONE, Ranks

LEARNING_RATE, FILTER_RATE = 0.2, 0.03
_STATES = ("momentum_buffer", "step", "exp_avg", "exp_avg_sq")
"""What optimisers remember of a parameter."""
_SMALL_COST = 0.6
"""Time of a step on images of three quarters of the side, relative to the full side."""

SAMPLINGS = ("sandwich", "nested")
"""Which networks of a set of shared weights a step trains.

``sandwich``: the largest and random smaller ones, which learn from a teacher (Yu & Huang 2019,
arXiv 1903.05134). ``nested``: random ones alone, on the labels (Valipour et al. 2023, arXiv
2309.00255).
"""


def check_sampling(name: str) -> None:
    """Raise InputError unless the name is one of ``SAMPLINGS``."""
    if name not in SAMPLINGS:
        raise InputError(f"sampling is one of {', '.join(SAMPLINGS)}, got {name!r}")


@dataclass(frozen=True, slots=True)
class Step:
    """Where a training stands.

    Attributes:
        rng: for the random choices of this step; the same when a training goes on.
        done: share of the steps that lie behind it, 0..1.
    """

    rng: np.random.Generator
    done: float


Objective = Callable[[torch.Tensor, torch.Tensor, Step], float]
"""Accumulates the gradients of one batch and returns the loss: ``objective(x, y, step)``."""


@dataclass(frozen=True, slots=True)
class TrainRecipe:
    """Hyper-parameters of one training.

    Attributes:
        n_epochs: passes over the training split, above 0; fractions allowed.
        batch_size: images a step, above 0.
        learning_rate: peak of the schedule (linear warm-up over 5 % of the steps, then cosine to
            zero) of what SGD trains.
        filter_rate: the same of filters over several channels, which Muon trains; see
            ``edgekit.training.optimizer``.
        weight_decay: on depthwise filters and matrices only, 0 or more.
        label_smoothing: 0..1.
        ema_decay: decay of the averaged weights per step, 0..1.
        mirror: whether a mirrored image keeps its class (false for digits and letters).
        small_share: share of the steps, 0..1, from the first, that train at three quarters of the
            side: cheaper early epochs (progressive resizing, Howard 2018; Tan & Le 2021, arXiv
            2104.00298, section 4).
        sampling: of shared weights, one of ``SAMPLINGS``.
        optimizer: one of ``OPTIMIZERS``.
        seed: of order, augmentation and sampled sub-networks, 0 or more.
        checkpoint_every: steps between checkpoints, above 0.

    Raises:
        InputError: a value out of its range.
    """

    n_epochs: float
    batch_size: int = 128
    learning_rate: float = LEARNING_RATE
    filter_rate: float = FILTER_RATE
    weight_decay: float = 4e-5
    label_smoothing: float = 0.05
    ema_decay: float = 0.998
    mirror: bool = True
    small_share: float = 0.6
    sampling: str = "sandwich"
    optimizer: str = "muon"
    seed: int = 0
    checkpoint_every: int = 100

    def __post_init__(self) -> None:
        for name in (
            "n_epochs",
            "batch_size",
            "learning_rate",
            "filter_rate",
            "checkpoint_every",
        ):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"{name} must be above zero, got {getattr(self, name)}")
        for name in ("label_smoothing", "ema_decay", "small_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must lie in 0..1, got {getattr(self, name)}")
        check_sampling(self.sampling)
        if self.optimizer not in OPTIMIZERS:
            raise InputError(
                f"an optimizer is one of {', '.join(OPTIMIZERS)}, got {self.optimizer!r}"
            )
        if not (self.weight_decay >= 0 and self.seed >= 0):
            raise InputError(
                f"weight_decay and seed must be 0 or more, got {self.weight_decay} and {self.seed}"
            )

    @property
    def text(self) -> str:
        """Identity of the recipe in checkpoints."""
        return json.dumps(asdict(self), sort_keys=True)

    def n_steps(self, n_images: int) -> int:
        """Steps of the whole training."""
        return max(1, round(self.n_epochs * steps_per_epoch(n_images, self.batch_size)))


def schedule_at(step: int, n_steps: int) -> float:
    """Share of the peak learning rates in a step: linear warm-up, then cosine to zero.

    Loshchilov & Hutter 2017 (arXiv 1608.03983, equation 5), without restarts.

    Args:
        step: from 0.
        n_steps: steps of the whole training.
    """
    n_warmup = max(1, n_steps // 20)
    if step < n_warmup:
        return (step + 1) / n_warmup
    done = (step - n_warmup) / max(1, n_steps - n_warmup)
    return 0.5 * (1 + math.cos(math.pi * done))


def three_quarters(x: torch.Tensor) -> torch.Tensor:
    """Images ``(batch, 3, side, side)`` scaled down to three quarters of the side, antialiased."""
    side = x.shape[-1] * 3 // 4
    smaller = F.interpolate(x, size=(side, side), mode="bilinear", antialias=True)
    return smaller.contiguous(memory_format=torch.channels_last)


class Averaged:
    """Exponential moving average of a model's parameters.

    The decay rises with the steps, so that the first weights do not dominate.

    Args:
        model: whose parameters are averaged.
        decay: highest decay per step, 0..1.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.shadow = {k: p.detach().clone() for k, p in model.named_parameters()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move the average towards the model after step ``step``, counted from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        shadows = list(self.shadow.values())
        torch._foreach_lerp_(shadows, [p.detach() for p in model.parameters()], 1 - decay)

    @torch.no_grad()
    def copy_to(self, model: nn.Module) -> None:
        """Put the averaged weights into the model."""
        for name, parameter in model.named_parameters():
            parameter.copy_(self.shadow[name])


def _alike(done: float) -> float:
    return 1.0


def _work(
    recipe: TrainRecipe, n_steps: int, cost: Callable[[float], float]
) -> Callable[[int], float]:
    """Work that is done after so many steps."""
    done = np.arange(n_steps) / n_steps
    side = np.where(done < recipe.small_share, _SMALL_COST, 1.0)
    total = np.concatenate([[0.0], np.cumsum(side * [cost(share) for share in done.tolist()])])
    return lambda n: float(total[n])


def train(
    model: nn.Module,
    objective: Objective,
    task: Task,
    recipe: TrainRecipe,
    *,
    progress: Progress,
    label: str,
    checkpoint: Path | None = None,
    cost: Callable[[float], float] = _alike,
    ranks: Ranks = ALONE,
    beside: Sequence[nn.Module] = (),
) -> None:
    """Train ``model`` in place and leave the averaged weights in it.

    It runs on the GPU of ``ranks`` if there is one: model and images go there, and the model comes
    back in the end. Sums on a GPU are not taken in the same order each time, so that two runs do
    not agree to the bit.

    Batch-norm statistics are those of the last steps, not of the averaged weights: re-estimate
    them before use (``edgekit.training.batchnorm``).

    Args:
        model: any module; its parameters are what the objective differentiates.
        objective: accumulates gradients for one batch, see ``Objective``.
        task: only ``task.train`` is read.
        recipe: hyper-parameters.
        progress: where the bar is drawn.
        label: what the bar says.
        checkpoint: file to resume from and to write to; None keeps nothing.
        cost: of a step of the objective relative to others, when such a share of the steps lies
            behind it; so that the time left is told right.
        ranks: this process among those that train together; the first writes the checkpoint.
        beside: other modules that the objective runs, such as a teacher.

    Raises:
        InputError: the checkpoint is damaged or belongs to another recipe, or the loss is no
            longer finite.
    """
    with placed([model, *beside], ranks.device):
        _train(model, objective, task, recipe, progress, label, checkpoint, cost, ranks)


def _train(
    model: nn.Module,
    objective: Objective,
    task: Task,
    recipe: TrainRecipe,
    progress: Progress,
    label: str,
    checkpoint: Path | None,
    cost: Callable[[float], float],
    ranks: Ranks,
) -> None:
    n_steps = recipe.n_steps(len(task.train.labels))
    optimizer = optimizer_of(
        model, recipe.optimizer, recipe.learning_rate, recipe.filter_rate, recipe.weight_decay
    )
    peaks = [group["lr"] for group in optimizer.param_groups]
    average = Averaged(model, recipe.ema_decay)
    first = _restore(checkpoint, model, optimizer, average, recipe)
    batches = training_batches(
        task.train,
        task.preprocessing,
        batch_size=recipe.batch_size,
        seed=recipe.seed,
        first_step=first,
        n_steps=n_steps,
        mirror=recipe.mirror,
    )
    keep_freed_memory()
    model.train()
    smooth_loss = float("nan")
    work = _work(recipe, n_steps, cost)
    with progress.track(n_steps, label, n_start=first, work=work) as update:
        for step, x, y in batches:
            for group, peak in zip(optimizer.param_groups, peaks, strict=True):
                group["lr"] = peak * schedule_at(step, n_steps)
            x, y = ranks.share(x, y)
            if step < recipe.small_share * n_steps:
                x = three_quarters(x)
            optimizer.zero_grad(set_to_none=True)
            rng = np.random.default_rng((recipe.seed, 2, step))
            loss = objective(x, y, Step(rng, step / n_steps))
            _check_finite(loss, step)
            ranks.average(model)
            optimizer.step()
            average.update(model, step)
            smooth_loss = loss if math.isnan(smooth_loss) else 0.98 * smooth_loss + 0.02 * loss
            done = step + 1
            if (
                checkpoint
                and ranks.is_first
                and (done % recipe.checkpoint_every == 0 or done == n_steps)
            ):
                _store(checkpoint, model, optimizer, average, recipe, done)
            update(done, f"loss {smooth_loss:.3f}")
    average.copy_to(model)


def _check_finite(loss: float, step: int) -> None:
    if not math.isfinite(loss):
        raise InputError(
            f"the loss must stay finite, it is {loss} in step {step}; "
            "start again with a lower learning rate"
        )


def _store(
    path: Path,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: Averaged,
    recipe: TrainRecipe,
    step: int,
) -> None:
    tensors = {f"model/{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"ema/{k}": v for k, v in average.shadow.items()}
    for name, parameter in model.named_parameters():
        for key, value in optimizer.state[parameter].items():
            if value is not None:
                tensors[f"optimizer/{key}/{name}"] = value
    save_checkpoint(path, Checkpoint(step, recipe.text, tensors))


def _restore(
    path: Path | None,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: Averaged,
    recipe: TrainRecipe,
) -> int:
    if path is None or not path.is_file():
        return 0
    saved = load_checkpoint(path)
    if saved.recipe != recipe.text:
        raise InputError(
            f"a training resumes with the recipe it began with, {path} has {saved.recipe}; "
            "start a new run folder"
        )
    model.load_state_dict(saved.group("model"))
    ema, state = saved.group("ema"), saved.group("optimizer")
    # In the memory format of the parameters, so that sums round as they did before.
    for name, parameter in model.named_parameters():
        average.shadow[name] = torch.empty_like(parameter).copy_(ema[name]).detach()
        for key in _STATES:
            if (value := state.get(f"{key}/{name}")) is not None:
                like = parameter if value.shape == parameter.shape else value
                optimizer.state[parameter][key] = torch.empty_like(like).copy_(value).detach()
    return saved.step
