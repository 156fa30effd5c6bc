"""A small network to split, for digits."""

from __future__ import annotations

import pytest
import torch
from torch import fx, nn

from edgekit.core.task import Task
from edgekit.search.elastic.capture import captured


@pytest.fixture(scope="session")
def teacher(digits_task: Task) -> fx.GraphModule:
    """Captured; two convolutions with batch norms, untrained."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU()),
        nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU()),
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)),
    )
    side = digits_task.preprocessing.resolution
    return captured(net, torch.zeros(2, 3, side, side))
