"""The networks of NAS-Bench-201, as its authors built them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from edgekit.core.candidate import Candidate
from edgekit.search.nb201.space import EDGES, OPERATIONS, NB201Space


class Cell(nn.Module):
    """Sums of what the edges give, node by node.

    Args:
        candidate: the operation of each edge.
        width: channels in and out.
    """

    def __init__(self, candidate: Candidate, width: int) -> None:
        super().__init__()
        self.edges = nn.ModuleList(_operation(OPERATIONS[g], width) for g in candidate.genes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, width, side, side)`` to the same."""
        nodes = [x]
        for end in (1, 2, 3):
            given = [
                edge(nodes[start])
                for (start, to), edge in zip(EDGES, self.edges, strict=True)
                if to == end
            ]
            nodes.append(torch.stack(given).sum(dim=0) if len(given) > 1 else given[0])
        return nodes[-1]


class Reduction(nn.Module):
    """A residual block that halves the side and doubles the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _convolution(width, 2 * width, 3, stride=2)
        self.second = _convolution(2 * width, 2 * width, 3)
        pool, project = nn.AvgPool2d(2), nn.Conv2d(width, 2 * width, 1, bias=False)
        self.shortcut = nn.Sequential(pool, project)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(batch, width, side, side)`` to ``(batch, 2 width, side / 2, side / 2)``."""
        result: torch.Tensor = self.shortcut(x) + self.second(self.first(x))
        return result


class Zero(nn.Module):
    """The operation ``none``."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Zeros of the shape."""
        return torch.zeros_like(x)


class CellNetwork(nn.Module):
    """Three stages of one cell, residual reductions between them.

    Args:
        candidate: of ``NB201Space``.
        n_classes: outputs, at least 2.
        n_cells: cells a stage, at least 1; 5 in the benchmark.
        width: channels of the first stage; 16 in the benchmark.
    """

    def __init__(
        self, candidate: Candidate, n_classes: int, n_cells: int = 5, width: int = 16
    ) -> None:
        super().__init__()
        NB201Space().check(candidate)
        stem = [nn.Conv2d(3, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)]
        layers: list[nn.Module] = [*stem]
        for stage in range(3):
            if stage:
                layers.append(Reduction(width))
                width *= 2
            layers += [Cell(candidate, width) for _ in range(n_cells)]
        self.features = nn.Sequential(*layers, nn.BatchNorm2d(width), nn.ReLU())
        self.classifier = nn.Linear(width, n_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images ``(batch, 3, side, side)`` to logits ``(batch, n_classes)``."""
        pooled = F.adaptive_avg_pool2d(self.features(x), 1).flatten(1)
        logits: torch.Tensor = self.classifier(pooled)
        return logits


def _operation(name: str, width: int) -> nn.Module:
    if name == "none":
        return Zero()
    if name == "skip_connect":
        return nn.Identity()
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    return _convolution(width, width, 1 if name == "nor_conv_1x1" else 3)


def _convolution(in_width: int, out_width: int, side: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(in_width, out_width, side, stride, side // 2, bias=False)
    return nn.Sequential(nn.ReLU(), conv, nn.BatchNorm2d(out_width))
