"""Losses: label-smoothed cross-entropy, and distillation from a teacher's logits."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor, smoothing: float) -> torch.Tensor:
    """Mean label-smoothed cross-entropy.

    Args:
        logits: ``(batch, classes)`` float32.
        labels: ``(batch,)`` int64.
        smoothing: share of the target spread over all classes, 0..1.
    """
    return F.cross_entropy(logits, labels, label_smoothing=smoothing)


def distillation(
    logits: torch.Tensor, teacher_logits: torch.Tensor, temperature: float = 1.0
) -> torch.Tensor:
    """Mean cross-entropy against the teacher's softmax.

    Hinton et al. 2015 (arXiv 1503.02531, section 2), without the term on the labels; their factor
    ``temperature**2`` keeps the size of the gradient. The teacher is detached: no gradient reaches
    it.

    Args:
        logits: ``(batch, classes)`` float32 of the student.
        teacher_logits: the same of the teacher.
        temperature: what both are divided by, above 0. A teacher is sure of the images it was
            trained on: what it knows of the other classes shows at 2 and more.
    """
    wanted = (teacher_logits.detach() / temperature).softmax(dim=1)
    return temperature**2 * F.cross_entropy(logits / temperature, wanted)
