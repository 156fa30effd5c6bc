"""Batches for training: uint8 images in, augmented and normalised float tensors out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from edgekit.core.task import Preprocessing, Split


def augment(
    images: NDArray[np.uint8], rng: np.random.Generator, *, mirror: bool
) -> NDArray[np.uint8]:
    """Random crop after padding by an eighth of the side, and a mirror image half of the time.

    Args:
        images: ``(batch, height, width, 3)`` uint8.
        rng: the only source of randomness.
        mirror: whether a mirrored image keeps its class.

    Returns:
        A new array of the same shape and dtype.
    """
    n, height, width, _ = images.shape
    pad = max(1, height // 8)
    padded = np.pad(images, ((0, 0), (pad, pad), (pad, pad), (0, 0)), mode="reflect")
    rows = rng.integers(0, 2 * pad + 1, n)[:, None, None] + np.arange(height)[None, :, None]
    cols = rng.integers(0, 2 * pad + 1, n)[:, None, None] + np.arange(width)[None, None, :]
    flipped = np.logical_and(rng.random(n) < 0.5, mirror)[:, None, None]
    cols = np.where(flipped, cols[..., ::-1], cols)
    result: NDArray[np.uint8] = padded[np.arange(n)[:, None, None], rows, cols]
    return result


def to_tensor(images: NDArray[np.uint8], preprocessing: Preprocessing) -> torch.Tensor:
    """Normalise a batch.

    Args:
        images: ``(batch, height, width, 3)`` uint8.
        preprocessing: mean and standard deviation per channel.

    Returns:
        ``(batch, 3, height, width)`` float32 in channels-last memory.
    """
    mean = torch.tensor(preprocessing.mean) * 255.0
    scale = 1.0 / (torch.tensor(preprocessing.std) * 255.0)
    return ((torch.from_numpy(images).float() - mean) * scale).permute(0, 3, 1, 2)


def training_batches(
    split: Split,
    preprocessing: Preprocessing,
    *,
    batch_size: int,
    seed: int,
    first_step: int,
    n_steps: int,
    mirror: bool,
) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
    """Yield ``(step, x, y)`` for steps ``first_step..n_steps-1``.

    The order of an epoch depends on the seed and the epoch, the augmentation of a batch on the
    seed and the step: a resumed run sees exactly the batches an uninterrupted one would have seen.
    """
    per_epoch = steps_per_epoch(len(split.labels), batch_size)
    order, order_epoch = np.empty(0, np.int64), -1
    for step in range(first_step, n_steps):
        epoch, offset = divmod(step, per_epoch)
        if epoch != order_epoch:
            order = np.random.default_rng((seed, epoch)).permutation(len(split.labels))
            order_epoch = epoch
        picked = np.sort(order[offset * batch_size : (offset + 1) * batch_size])
        rng = np.random.default_rng((seed, 1, step))
        images = augment(split.images[picked], rng, mirror=mirror)
        yield step, to_tensor(images, preprocessing), torch.from_numpy(split.labels[picked])


def steps_per_epoch(n_images: int, batch_size: int) -> int:
    """Whole batches in an epoch, at least one."""
    return max(1, n_images // batch_size)


def evaluation_batches(
    split: Split, preprocessing: Preprocessing, batch_size: int = 250
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield ``(x, y)`` over a split in order, without augmentation."""
    for start in range(0, len(split.labels), batch_size):
        part = slice(start, start + batch_size)
        yield to_tensor(split.images[part], preprocessing), torch.from_numpy(split.labels[part])


def spread_batches(
    split: Split, preprocessing: Preprocessing, n_images: int, batch_size: int = 250
) -> Iterator[torch.Tensor]:
    """Yield ``n_images`` images, without augmentation, in batches of about equal size.

    They, and the images of each batch, are spread evenly over the split, whose order may follow
    the classes.
    """
    index = np.unique(np.linspace(0, len(split.labels) - 1, n_images).astype(np.int64))
    n_batches = -(-len(index) // batch_size)
    for start in range(n_batches):
        yield to_tensor(split.images[index[start::n_batches]], preprocessing)
