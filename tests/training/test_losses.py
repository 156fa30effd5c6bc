"""Losses against products written by hand."""

from __future__ import annotations

import math

import pytest
import torch

from edgekit.training.losses import cross_entropy, distillation

LOGITS = torch.tensor([[0.0, math.log(3.0)], [math.log(4.0), 0.0]])


def test_cross_entropy_without_smoothing_is_minus_the_log_of_the_right_share() -> None:
    loss = cross_entropy(LOGITS, torch.tensor([1, 1]), 0.0)
    assert float(loss) == pytest.approx((-math.log(3 / 4) - math.log(1 / 5)) / 2)


def test_smoothing_spreads_a_share_of_the_target_over_all_classes() -> None:
    loss = cross_entropy(LOGITS[:1], torch.tensor([1]), 0.1)
    assert float(loss) == pytest.approx(-0.95 * math.log(3 / 4) - 0.05 * math.log(1 / 4))


def test_distillation_is_the_cross_entropy_with_the_teachers_shares() -> None:
    loss = distillation(LOGITS[:1], LOGITS[1:])
    assert float(loss) == pytest.approx(-0.8 * math.log(1 / 4) - 0.2 * math.log(3 / 4))


def test_a_temperature_softens_both_sides_and_keeps_the_size_of_the_gradient() -> None:
    loss = distillation(LOGITS[:1], LOGITS[1:], 2.0)
    low, high = math.log(1 + math.sqrt(3)), math.log(1 + 1 / math.sqrt(3))
    assert float(loss) == pytest.approx(4 * (2 / 3 * low + 1 / 3 * high))


def test_distillation_pulls_the_student_and_not_the_teacher() -> None:
    student, teacher = LOGITS.clone().requires_grad_(), LOGITS.flip(0).requires_grad_()
    distillation(student, teacher).backward()
    assert teacher.grad is None
    assert student.grad is not None
    expected = (student.softmax(1) - teacher.softmax(1)) / 2
    torch.testing.assert_close(student.grad, expected.detach())
