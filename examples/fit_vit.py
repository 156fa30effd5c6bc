"""Train a small vision transformer on scikit-learn's digits, then fit it to this machine.

    python examples/fit_vit.py --max-latency 300us

Heads, MLP widths, depth and the precision of each attention and MLP are chosen together.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

import edgekit as ek
from edgekit.core.units import format_duration, format_size
from edgekit.effort import FULL_MODULE

WIDTH, N_HEADS, PATCH, DEPTH = 64, 4, 8, 4


class Layer(nn.Module):
    """Attention and MLP, both residual."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.grow, self.shrink = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(images, patches, WIDTH)`` to the same."""
        n, length, _ = x.shape
        qkv = self.qkv(self.norm1(x)).reshape(n, length, 3, N_HEADS, WIDTH // N_HEADS)
        heads = F.scaled_dot_product_attention(*qkv.permute(2, 0, 3, 1, 4).unbind(0))
        x = x + self.out(heads.transpose(1, 2).reshape(n, length, WIDTH))
        return x + self.shrink(F.gelu(self.grow(self.norm2(x))))


class ViT(nn.Module):
    """Patches, layers, and the mean of what they give."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, WIDTH, PATCH, PATCH)
        self.places = nn.Parameter(0.02 * torch.randn(1, (32 // PATCH) ** 2, WIDTH))
        self.layers = nn.Sequential(*(Layer() for _ in range(DEPTH)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Images ``(n, 3, 32, 32)`` to logits ``(n, 10)``."""
        x = self.patches(x).flatten(2).transpose(1, 2) + self.places
        return self.head(self.norm(self.layers(x)).mean(1))


def train(net: nn.Module, task: ek.Task, n_steps: int) -> None:
    """Any training will do."""
    x = torch.from_numpy(task.preprocessing.apply(task.train.images))
    y = torch.from_numpy(task.train.labels)
    optimizer = torch.optim.AdamW(net.parameters(), 2e-3)
    for step in range(n_steps):
        picked = torch.randint(len(x), (128,), generator=torch.Generator().manual_seed(step))
        loss = F.cross_entropy(net(x[picked]), y[picked])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def main() -> None:
    """Print what the artifact measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--max-latency", default="300us")
    parser.add_argument("--steps", type=int, default=400, help="of the training before")
    parser.add_argument("--profile", type=Path, help="folder; default: make one")
    parser.add_argument("--images", type=int, default=30_000)
    parser.add_argument("--evaluations", type=int, default=FULL_MODULE.n_evaluations)
    parser.add_argument("--table", type=int, default=FULL_MODULE.n_table_networks)
    parser.add_argument("--out", type=Path, default=Path("build/vit"))
    given = parser.parse_args()
    torch.manual_seed(0)  # the same command again goes on with the same network
    task, net = ek.Task.digits(), ViT()
    train(net, task, given.steps)
    space = ek.space(net, torch.zeros(2, 3, 32, 32))
    effort = replace(FULL_MODULE, supernet_images=given.images, n_evaluations=given.evaluations)
    effort = replace(effort, finetune_images=2 * given.images, n_table_networks=given.table)
    limits = ek.Limits.of(latency=given.max_latency)
    fitted = ek.fit(
        task, given.out, space=space, limits=limits, profile=given.profile, effort=effort
    )
    proof = fitted.proof
    latency, size = format_duration(proof.latency.p50_s), format_size(proof.size_bytes)
    print(f"{proof.accuracy.top1:.2%} on test images, {latency}, {size}: {fitted.bundle.folder}")


if __name__ == "__main__":
    main()
