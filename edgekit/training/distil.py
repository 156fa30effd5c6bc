"""Fine-tuning a small network under a large one."""

from __future__ import annotations

import torch
from torch import nn

from edgekit.training.loop import Objective, Step
from edgekit.training.losses import cross_entropy, distillation

TAUGHT_SHARE = 0.5


def distilling_objective(student: nn.Module, teacher: nn.Module, smoothing: float) -> Objective:
    """A loss against a frozen teacher's answers that gives way to the one against the labels.

    Both are halves of the loss at first; the teacher's falls linearly to nothing in the middle of
    the training. A student that is trained for long passes a teacher that was not, and from then
    on is held back by it (Cho & Hariharan 2019, arXiv 1910.01348, who stop distilling early).

    Args:
        student: what is trained; images ``(batch, 3, r, r)`` to logits ``(batch, classes)``.
        teacher: its answers are the second target; put into evaluation mode here.
        smoothing: label smoothing of the loss against the labels, 0..1.

    Returns:
        An objective for ``edgekit.training.loop.train``.
    """
    teacher.eval()

    def objective(x: torch.Tensor, y: torch.Tensor, step: Step) -> float:
        share = max(0.0, 0.5 * (1 - step.done / TAUGHT_SHARE))
        logits = student(x)
        loss = (1 - share) * cross_entropy(logits, y, smoothing)
        if share > 0:
            with torch.no_grad():
                target = teacher(x)
            loss = loss + share * distillation(logits, target)
        loss.backward()
        return float(loss.detach())

    return objective


def labelled_objective(net: nn.Module, smoothing: float) -> Objective:
    """The loss against the labels alone.

    Args:
        net: what is trained; images ``(batch, 3, r, r)`` to logits ``(batch, classes)``.
        smoothing: label smoothing, 0..1.
    """

    def objective(x: torch.Tensor, y: torch.Tensor, step: Step) -> float:
        loss = cross_entropy(net(x), y, smoothing)
        loss.backward()
        return float(loss.detach())

    return objective
