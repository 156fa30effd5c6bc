"""A small vision transformer for CIFAR-10 (32x32, patches of 4), trained here.

    python -m tests.benchmarks.vit --data DATA/cifar10 --work build/vit [--epochs 100]

On a GPU where torch sees one. Weights and the accuracy on the validation split are kept in the
work folder.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from edgekit.core.progress import Progress
from edgekit.core.task import Task, load_task
from edgekit.training.augment import evaluation_batches, steps_per_epoch, training_batches
from edgekit.training.checkpoint import load_weights, save_weights
from edgekit.training.device import placed, training_device
from edgekit.training.loop import schedule_at
from edgekit.training.losses import cross_entropy

WIDTH, N_HEADS, PATCH, DEPTH, GROWTH = 96, 4, 4, 6, 3
N_EPOCHS, BATCH, RATE = 20, 128, 1e-3
WEIGHTS = "vit.safetensors"


class Layer(nn.Module):
    """Attention and MLP, both residual, norms first."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.grow, self.shrink = nn.Linear(WIDTH, GROWTH * WIDTH), nn.Linear(GROWTH * WIDTH, WIDTH)

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


def trained(task: Task, folder: Path, n_epochs: int = N_EPOCHS) -> ViT:
    """Train on the training split with AdamW, or load what the folder holds."""
    torch.manual_seed(0)
    net, done = ViT(), folder / WEIGHTS
    if not done.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with placed([net], training_device()):
            _train(net, task, n_epochs)
        save_weights(done, net.state_dict(), f"{n_epochs} epochs")
    net.load_state_dict(load_weights(done))
    return net.eval()


def _train(net: ViT, task: Task, n_epochs: int) -> None:
    n_steps, device = n_epochs * steps_per_epoch(len(task.train), BATCH), training_device()
    optimizer = torch.optim.AdamW(net.parameters(), RATE, weight_decay=0.05)
    batches = training_batches(
        task.train,
        task.preprocessing,
        batch_size=BATCH,
        seed=0,
        first_step=0,
        n_steps=n_steps,
        mirror=True,
    )
    with Progress().track(n_steps, "training the transformer") as update:
        for step, x, y in batches:
            optimizer.param_groups[0]["lr"] = RATE * schedule_at(step, n_steps)
            optimizer.zero_grad()
            loss = cross_entropy(net(x.to(device)), y.to(device), 0.1)
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
            update(step + 1, f"loss {float(loss.detach()):.3f}")


def main() -> None:
    """Train, and print the accuracy on the validation split."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=N_EPOCHS)
    given = parser.parse_args()
    task = load_task(given.data, seed=0, resolution=32)
    net = trained(task, given.work, given.epochs)
    with torch.no_grad():
        right = [
            int((net(x).argmax(1) == y).sum())
            for x, y in evaluation_batches(task.validation, task.preprocessing, 250)
        ]
    print(f"{sum(right) / len(task.validation):.2%} of {len(task.validation)} validation images")


if __name__ == "__main__":
    main()
