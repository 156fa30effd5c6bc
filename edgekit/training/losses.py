"""Losses: label-smoothed cross-entropy, and distillation from a teacher's logits."""

from __future__ import annotations

import torch
import torch.nn.functional as F


def cross_entropy(logits: torch.Tensor, labels: torch.Tensor, smoothing: float) -> torch.Tensor:
    """Mean label-smoothed cross-entropy of ``(batch, classes)`` logits."""
    return F.cross_entropy(logits, labels, label_smoothing=smoothing)


def distillation(logits: torch.Tensor, teacher_logits: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy against the teacher's softmax (Hinton et al. 2015, arXiv 1503.02531,
    temperature 1).

    The teacher is detached: no gradient reaches it.
    """
    return F.cross_entropy(logits, teacher_logits.detach().softmax(dim=1))
