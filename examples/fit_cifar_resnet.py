"""Fit a pretrained CIFAR ResNet (He et al. 2016, option A) to a latency limit on this machine.

    python examples/fit_cifar_resnet.py cifar10 cifar10_resnet56.safetensors --max-latency 600us

The data are parquet files; the weights are a state dictionary of the class below.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

import edgekit as ek
from edgekit.core.units import format_duration, format_size
from edgekit.effort import FULL_MODULE

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Block(nn.Module):
    """Two convolutions; where it halves the image, its shortcut is padded with zero channels."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__()
        stride, self.n_padded = n_out // n_in, (n_out - n_in) // 2
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(n, n_in, h, w)`` to ``(n, n_out, h / stride, w / stride)``."""
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        if self.n_padded:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.n_padded, self.n_padded))
        return F.relu(x + y)


class ResNet(nn.Module):
    """Three stages of 16, 32 and 64 channels."""

    def __init__(self, n_blocks: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16)
        for stage, (n_in, n_out) in enumerate(((16, 16), (16, 32), (32, 64)), start=1):
            rest = (Block(n_out, n_out) for _ in range(n_blocks - 1))
            self.add_module(f"layer{stage}", nn.Sequential(Block(n_in, n_out), *rest))
        self.linear = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images ``(n, 3, 32, 32)`` to logits ``(n, 10)``."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))


def pretrained(weights: Path) -> ResNet:
    """As deep as the weights say."""
    state = load_file(weights)
    net = ResNet(sum(name.startswith("layer1.") and "conv1" in name for name in state))
    net.load_state_dict(state, strict=False)  # counters of batches are not stored
    return net


def main() -> None:
    """Print what the artifact measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path, help="folder, or one file")
    parser.add_argument("weights", type=Path)
    parser.add_argument("--max-latency", default="600us")
    parser.add_argument("--profile", type=Path, help="folder; default: make one")
    parser.add_argument("--images", type=int, default=FULL_MODULE.supernet_images)
    parser.add_argument("--evaluations", type=int, default=FULL_MODULE.n_evaluations)
    parser.add_argument("--table", type=int, default=FULL_MODULE.n_table_networks)
    parser.add_argument("--out", type=Path, default=Path("build/cifar-resnet"))
    given = parser.parse_args()
    task = ek.Task.from_parquet(given.data, resolution=32).normalised(MEAN, STD)
    net = pretrained(given.weights)
    space = ek.space(net, torch.zeros(2, 3, 32, 32))
    print(f"{len(space.widths)} widths, {space.n_branches} branches, {len(space.blocks)} blocks")
    effort = replace(FULL_MODULE, supernet_images=given.images, n_evaluations=given.evaluations)
    effort = replace(effort, finetune_images=3 * given.images, n_table_networks=given.table)
    limits = ek.Limits.of(latency=given.max_latency)
    fitted = ek.fit(
        task, given.out, space=space, limits=limits, profile=given.profile, effort=effort
    )
    proof = fitted.proof
    latency, size = format_duration(proof.latency.p50_s), format_size(proof.size_bytes)
    print(f"{proof.accuracy.top1:.2%} on test images, {latency}, {size}: {fitted.bundle.folder}")


if __name__ == "__main__":
    main()
