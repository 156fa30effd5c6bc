"""Images from any indexable data set of (image, label) pairs, such as torchvision's."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from edgekit.core.errors import InputError
from edgekit.core.images.decode import default_resolution, reason_of, square, square_of_array
from edgekit.core.images.gather import N_LOOKED_AT, LabelledImages, check_skipped
from edgekit.core.images.parquet import MAX_CLASSES
from edgekit.core.progress import Progress

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

# What Pillow raises for a damaged file when a data set opens it.
_DAMAGED = (OSError, SyntaxError)


class Dataset(Protocol):
    """What ``torch.utils.data.Dataset`` with a length offers: pairs of an image and a label."""

    def __len__(self) -> int:
        """Number of images."""

    def __getitem__(self, index: int, /) -> tuple[object, object]:
        """Image and class index, a whole number.

        The image is a Pillow image, an array (height, width, 3) or a tensor (3, height, width).
        """


def gather_dataset(
    data: Dataset, resolution: int, where: str, progress: Progress
) -> LabelledImages:
    """Read a whole data set, one item after the other.

    Args:
        data: the data set.
        resolution: side of the squares in pixels.
        where: what to call it in messages.
        progress: how to show it.

    Raises:
        InputError: an item is no image, is normalised already, or has no class index; or more than
            a fifth of the items cannot be read.
    """
    images = np.empty((len(data), resolution, resolution, 3), dtype=np.uint8)
    labels: list[int] = []
    skipped: list[str] = []
    with progress.track(len(data), f"reading {where}") as update:
        for index in range(len(data)):
            try:
                image, label = data[index]
                images[len(labels)] = _pixels(image, resolution, index)
                labels.append(_class_index(label, index))
            except _DAMAGED as error:
                skipped.append(f"item {index}: {reason_of(error)}")
            update(index + 1)
    check_skipped(skipped, len(data), where)
    numbers = np.asarray(labels, dtype=np.int64)
    kept = images[: len(labels)]
    return LabelledImages(kept, numbers, tuple(skipped), digest_of(kept, numbers))


def digest_of(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> str:
    """SHA-256 over the bytes of contiguous pixels and labels, as hex."""
    digest = hashlib.sha256(images.data)
    digest.update(labels.data)
    return digest.hexdigest()


def dataset_resolution(data: Dataset) -> int:
    """Resolution from some images, evenly spread; see ``default_resolution``."""
    n_looked_at = min(N_LOOKED_AT, len(data))
    sizes = []
    for index in np.linspace(0, len(data) - 1, num=n_looked_at).astype(int).tolist():
        try:
            sizes.append(_size(_pillow_or_bytes(data[index][0], index)))
        except _DAMAGED:  # named when everything is read
            continue
    return default_resolution(sizes)


def _size(image: PilImage | NDArray[np.uint8]) -> tuple[int, int]:
    """Width and height."""
    if isinstance(image, np.ndarray):
        return image.shape[1], image.shape[0]
    return image.size


def _pixels(image: object, resolution: int, index: int) -> NDArray[np.uint8]:
    found = _pillow_or_bytes(image, index)
    if isinstance(found, np.ndarray):
        return square_of_array(found, resolution)
    return square(found, resolution)


def _pillow_or_bytes(image: object, index: int) -> PilImage | NDArray[np.uint8]:
    """A Pillow image as it is; else bytes, (height, width), (height, width, 1) or (..., 3)."""
    from PIL import Image

    if isinstance(image, Image.Image):
        return image
    array = _as_array(image)
    if _is_tensor(image) and array.ndim == 3:
        array = array.transpose(1, 2, 0)
    n_channels = array.shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or 0 in array.shape or n_channels not in (1, 3):
        raise InputError(
            "an image is a Pillow image, an array (height, width, 3) or a tensor "
            f"(3, height, width), item {index} has {type(image).__name__} of {array.shape}"
        )
    return _as_bytes(array, index)


def _is_tensor(value: object) -> bool:
    return hasattr(value, "detach")


def _as_array(value: object) -> NDArray[np.generic]:
    """An array from a tensor on any device, or from whatever numpy takes; torch stays unknown."""
    return np.asarray(value.detach().cpu()) if hasattr(value, "detach") else np.asarray(value)


def _as_bytes(array: NDArray[np.generic], index: int) -> NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return array.astype(np.uint8, copy=False)
    if not np.issubdtype(array.dtype, np.floating):
        raise InputError(f"pixels are uint8 or floats in 0..1, item {index} has {array.dtype}")
    values = array.astype(np.float32)
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 1):
        raise InputError(
            f"float pixels are in 0..1, item {index} has {low:.3g}..{high:.3g}; "
            "hand in the data set without its normalisation"
        )
    return np.rint(values * 255).astype(np.uint8)


def _class_index(label: object, index: int) -> int:
    value = _as_array(label)
    whole = value.size == 1 and np.issubdtype(value.dtype, np.integer)
    if not whole or not 0 <= int(value.item()) < MAX_CLASSES:
        raise InputError(f"a label is a class index from 0, item {index} has {label!r}")
    return int(value.item())
