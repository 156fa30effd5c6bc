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


def distillation(logits: torch.Tensor, teacher_logits: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy against the teacher's softmax.

    Hinton et al. 2015 (arXiv 1503.02531) at temperature 1, without the term on the labels. The
    teacher is detached: no gradient reaches it.

    Args:
        logits: ``(batch, classes)`` float32 of the student.
        teacher_logits: the same of the teacher.
    """
    return F.cross_entropy(logits, teacher_logits.detach().softmax(dim=1))
