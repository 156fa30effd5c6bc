"""Fine-tuning a small network under a large one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from edgekit.training.losses import cross_entropy, distillation


def distilling_objective(
    student: nn.Module, teacher: nn.Module, smoothing: float
) -> Callable[[torch.Tensor, torch.Tensor, np.random.Generator], float]:
    """Half the loss against the labels, half against a frozen teacher's answers.

    Args:
        student: what is trained; images ``(batch, 3, r, r)`` to logits ``(batch, classes)``.
        teacher: its answers are the second target; put into evaluation mode here.
        smoothing: label smoothing of the first half, 0..1.

    Returns:
        An objective for ``edgekit.training.loop.train``.
    """
    teacher.eval()

    def objective(x: torch.Tensor, y: torch.Tensor, _: np.random.Generator) -> float:
        with torch.no_grad():
            target = teacher(x)
        logits = student(x)
        loss = 0.5 * cross_entropy(logits, y, smoothing) + 0.5 * distillation(logits, target)
        loss.backward()
        return float(loss.detach())

    return objective
