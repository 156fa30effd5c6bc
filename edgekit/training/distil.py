"""Fine-tuning a small network under a large one."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import nn

from edgekit.training.loop import Objective, Step
from edgekit.training.losses import cross_entropy, distillation

TAUGHT_SHARE = 0.5
_N_TIMED = 3


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


def taught_cost(
    student: nn.Module, teacher: nn.Module, x: torch.Tensor
) -> Callable[[float], float]:
    """What a step of ``distilling_objective`` costs, for ``train``: the teacher answers at first.

    Args:
        student: timed on one batch; a step forwards and back takes three times as long.
        teacher: timed on the same.
        x: images ``(batch, 3, r, r)``.
    """
    teacher_s, student_s = _forward_s(teacher, x), _forward_s(student, x)
    return lambda done: 1 + (teacher_s / (3 * student_s) if done < TAUGHT_SHARE else 0)


@torch.no_grad()
def _forward_s(net: nn.Module, x: torch.Tensor) -> float:
    """The fastest of a few runs, in evaluation mode, which leaves the network as it was."""
    was_training, times_s = net.training, []
    net.eval()
    for _ in range(_N_TIMED):
        start_s = time.perf_counter()
        net(x)
        times_s.append(time.perf_counter() - start_s)
    net.train(was_training)
    return min(times_s)


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
