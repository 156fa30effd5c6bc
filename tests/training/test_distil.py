"""The objective of fine-tuning."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import nn

from edgekit.training.distil import distilling_objective, taught_cost
from edgekit.training.loop import Step
from edgekit.training.losses import cross_entropy, distillation


@pytest.mark.parametrize(("done", "share"), [(0.0, 0.5), (0.25, 0.25), (0.5, 0.0), (0.9, 0.0)])
def test_the_teacher_gives_way_to_the_labels(
    make_net: Callable[[], nn.Module], done: float, share: float
) -> None:
    student, teacher = make_net(), make_net()
    with torch.no_grad():
        teacher.get_submodule("head").get_parameter("classifier.bias").add_(torch.arange(10.0))
    x, y = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.arange(8)
    objective = distilling_objective(student, teacher.train(), 0.1)
    loss = objective(x, y, Step(np.random.default_rng(0), done))
    assert not teacher.training
    with torch.no_grad():
        logits, target = make_net()(x), teacher(x)
        labels, answers = cross_entropy(logits, y, 0.1), distillation(logits, target)
    assert loss == pytest.approx(float((1 - share) * labels + share * answers), rel=1e-6)
    assert all(parameter.grad is not None for parameter in student.parameters())
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_a_step_under_a_teacher_costs_more(make_net: Callable[[], nn.Module]) -> None:
    student, x = make_net().train(), torch.randn(8, 3, 16, 16)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    cost = taught_cost(student, make_net(), x)
    assert cost(0.0) == cost(0.49) > 1
    assert cost(0.5) == cost(1.0) == 1
    assert student.training
    assert all(torch.equal(before[name], v) for name, v in student.state_dict().items())
