"""Running an exported network over many images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from edgekit.core.errors import InputError
from edgekit.core.figures import MeasuredAccuracy
from edgekit.core.task import Preprocessing, Split
from edgekit.devices.measuring.session import Model, open_session

_BATCH_VALUES = 2**19
"""Input values in a batch: 170 images of 32 x 32, 3 of 224 x 224."""


def logits_of(
    model: Model, images: NDArray[np.float32], *, n_threads: int = 1
) -> NDArray[np.float32]:
    """What the network answers.

    Args:
        model: a network with one input and one output.
        images: preprocessed, ``(n, 3, r, r)`` float32, n above 0.
        n_threads: of the session.

    Returns:
        ``(n, n_classes)`` float32.

    Raises:
        InputError: a model that cannot be loaded, or images it does not take.
    """
    session = open_session(model, n_threads=n_threads)
    step = batch_size_of(session)
    parts = [run_batch(session, images[i : i + step])[0] for i in range(0, len(images), step)]
    return np.concatenate(parts)


def measure_accuracy(
    model: Model,
    split: Split,
    preprocessing: Preprocessing,
    *,
    name: str,
    n_threads: int = 1,
    update: Callable[[int], object] | None = None,
) -> MeasuredAccuracy:
    """Top-1 accuracy of a network, counted over a whole split.

    Args:
        model: the network as it will run.
        split: images and their classes.
        preprocessing: of the network.
        name: of the split, ``"validation"`` or ``"test"``.
        n_threads: of the session.
        update: called with the number of images done.

    Raises:
        InputError: an empty split, a model that cannot be loaded, or a label the network has no
            output for.
    """
    if not len(split):
        raise InputError(f"accuracy is counted on at least one image, the {name} split has none")
    session = open_session(model, n_threads=n_threads)
    step, n_correct = batch_size_of(session), 0
    for start in range(0, len(split), step):
        part = slice(start, start + step)
        (logits,) = run_batch(session, preprocessing.apply(split.images[part]))
        if split.labels[part].max() >= logits.shape[1]:
            raise InputError(
                f"the network knows {logits.shape[1]} classes, the {name} split has a label "
                f"{split.labels[part].max()}; verify it on the task it was trained for"
            )
        n_correct += int((logits.argmax(axis=1) == split.labels[part]).sum())
        if update is not None:
            update(min(start + step, len(split)))
    return MeasuredAccuracy(n_correct, len(split), name)


def measure_loss(
    model: Model, split: Split, preprocessing: Preprocessing, *, n_threads: int = 1
) -> float:
    """Mean cross-entropy of a network over a split, in nats.

    It tells networks apart that are right about equally often, or hardly ever.

    Args:
        model: the network as it will run.
        split: some images and their classes, all taken at once.
        preprocessing: of the network.
        n_threads: of the session.

    Raises:
        InputError: a model that cannot be loaded, or images it does not take.
    """
    images = preprocessing.apply(split.images)
    logits = logits_of(model, images, n_threads=n_threads).astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    right = logits[np.arange(len(split)), split.labels]
    return float(np.mean(np.log(np.exp(logits).sum(axis=1)) - right))


def batch_size_of(session: ort.InferenceSession) -> int:
    """Images a session takes at once: what its input fixes, else as many as keep memory small."""
    batch, *rest = session.get_inputs()[0].shape
    return batch if isinstance(batch, int) else max(1, _BATCH_VALUES // int(np.prod(rest)))


def run_batch(
    session: ort.InferenceSession, images: NDArray[np.float32]
) -> list[NDArray[np.float32]]:
    """All outputs of a session for one batch.

    Raises:
        InputError: images of a size that the network does not take.
    """
    (node,) = session.get_inputs()
    if images.shape[1:] != tuple(node.shape[1:]):
        raise InputError(
            f"the network takes images {tuple(node.shape[1:])}, got {images.shape[1:]}; "
            "apply its own preprocessing"
        )
    outputs: list[NDArray[np.float32]] = session.run(None, {node.name: images})
    return outputs
