"""Small data and networks for the training room."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from edgekit.core.task import Split, Task
from edgekit.training.layers import ConvUnit


def first(split: Split, n: int) -> Split:
    """The first images of a split."""
    return Split(split.images[:n], split.labels[:n])


@pytest.fixture(scope="session")
def small_task(digits_task: Task) -> Task:
    """Digits, with 96 images for training and 64 for calibration."""
    return replace(
        digits_task,
        train=first(digits_task.train, 96),
        calibration=first(digits_task.calibration, 64),
    )


class TinyNet(nn.Module):
    """The smallest network with a stem, a residual block and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvUnit(3, 8, 3, stride=2)
        self.blocks = nn.Sequential(OrderedDict(b00=ConvUnit(8, 8, 3, groups=8, act=False)))
        layers = {"conv": ConvUnit(8, 16, 1), "pool": nn.AdaptiveAvgPool2d(1)}
        self.head = nn.Sequential(
            OrderedDict(**layers, flat=nn.Flatten(), classifier=nn.Linear(16, 10))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.head(self.blocks(self.stem(x)))
        return y


@pytest.fixture
def make_net() -> Callable[[], TinyNet]:
    """Makes the same network each time it is called."""

    def make() -> TinyNet:
        torch.manual_seed(3)
        return TinyNet().to(memory_format=torch.channels_last)

    return make
