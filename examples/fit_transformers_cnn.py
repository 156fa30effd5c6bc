"""Fit a convolutional network of Hugging Face's transformers to a folder of images.

    python examples/fit_transformers_cnn.py flowers --checkpoint microsoft/resnet-18

Needs the package transformers. With a folder of weights or the name of a checkpoint it starts
from those; without, from random ones, to see the whole line.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn
from transformers import AutoModelForImageClassification, ResNetConfig
from transformers import ResNetForImageClassification as RandomResNet

import edgekit as ek
from edgekit.core.units import format_duration, format_size
from edgekit.effort import FULL_MODULE

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Logits(nn.Module):
    """A model of transformers answers a structure; a network that is fitted answers logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        """Images ``(n, 3, r, r)`` to logits ``(n, classes)``."""
        return self.model(pixel_values=pixel_values).logits


def network(checkpoint: str | None, n_classes: int) -> nn.Module:
    """A ResNet with as many classes as the data."""
    if checkpoint is None:
        small = ResNetConfig(
            embedding_size=16,
            hidden_sizes=[16, 32, 64],
            depths=[2, 2, 2],
            layer_type="basic",
            num_labels=n_classes,
        )
        return Logits(RandomResNet(small))
    model = AutoModelForImageClassification.from_pretrained(
        checkpoint, num_labels=n_classes, ignore_mismatched_sizes=True
    )
    return Logits(model)


def main() -> None:
    """Print what the artifact measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--checkpoint")
    parser.add_argument("--resolution", type=int)
    parser.add_argument("--max-latency", default="10ms")
    parser.add_argument("--profile", type=Path, help="folder; default: make one")
    parser.add_argument("--images", type=int, default=FULL_MODULE.supernet_images)
    parser.add_argument("--evaluations", type=int, default=FULL_MODULE.n_evaluations)
    parser.add_argument("--table", type=int, default=FULL_MODULE.n_table_networks)
    parser.add_argument("--out", type=Path, default=Path("build/transformers-cnn"))
    given = parser.parse_args()

    task = ek.Task.from_folder(given.data, resolution=given.resolution).normalised(MEAN, STD)
    side = task.preprocessing.resolution
    torch.manual_seed(0)  # the same command again goes on with the same network
    net = network(given.checkpoint, len(task.labels))
    space = ek.space(net, torch.zeros(2, 3, side, side))
    print(f"{len(space.widths)} widths, {space.n_branches} branches, {len(space.blocks)} blocks")
    effort = replace(FULL_MODULE, supernet_images=given.images, n_evaluations=given.evaluations)
    effort = replace(effort, finetune_images=3 * given.images, n_table_networks=given.table)
    fitted = ek.fit(
        task,
        given.out,
        space=space,
        limits=ek.Limits.of(latency=given.max_latency),
        profile=given.profile,
        effort=effort,
    )
    proof = fitted.proof
    latency, size = format_duration(proof.latency.p50_s), format_size(proof.size_bytes)
    print(f"{proof.accuracy.top1:.2%} on test images, {latency}, {size}: {fitted.bundle.folder}")


if __name__ == "__main__":
    main()
