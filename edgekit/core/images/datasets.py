"""Images from any indexable data set of (image, label) pairs, such as torchvision's."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from edgekit.core.errors import InputError
from edgekit.core.images.decode import reason_of, square, square_of_array
from edgekit.core.images.gather import LabelledImages, check_skipped
from edgekit.core.progress import Progress

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage


class Dataset(Protocol):
    """What ``torch.utils.data.Dataset`` with a length offers: pairs of an image and a whole number."""

    def __len__(self) -> int:
        """Number of images."""

    def __getitem__(self, index: int, /) -> tuple[object, object]:
        """Image and label: a Pillow image, (height, width, 3) array or (3, height, width) tensor; a class index."""


def gather_dataset(
    data: Dataset, resolution: int, where: str, progress: Progress
) -> LabelledImages:
    """Read a whole data set, one item after the other.

    Raises:
        InputError: an item is no image, is normalised already, or has no class index; too many are unreadable.
    """
    images = np.empty((len(data), resolution, resolution, 3), dtype=np.uint8)
    labels, skipped = [], []
    with progress.track(len(data), f"reading {where}") as update:
        for index in range(len(data)):
            try:
                image, label = data[index]
                images[len(labels)] = _pixels(image, resolution, index)
                labels.append(_class_index(label, index))
            except (OSError, SyntaxError) as error:  # what Pillow raises for a damaged file
                skipped.append(f"item {index}: {reason_of(error)}")
            update(index + 1)
    check_skipped(skipped, len(data), where)
    kept, numbers = images[: len(labels)], np.asarray(labels, dtype=np.int64)
    digest = hashlib.sha256(kept.tobytes() + numbers.tobytes()).hexdigest()
    return LabelledImages(kept, numbers, tuple(skipped), digest)


def sizes_of(data: Dataset, n_looked_at: int) -> list[tuple[int, int]]:
    """Width and height of some images, evenly spread."""
    indices = np.unique(np.linspace(0, len(data) - 1, num=min(n_looked_at, len(data))).astype(int))
    sizes = []
    for index in indices:
        try:
            image = data[int(index)][0]
        except (OSError, SyntaxError):  # named when everything is read
            continue
        pixels = _as_pillow_or_array(image, int(index))
        sizes.append(
            (pixels.shape[1], pixels.shape[0]) if isinstance(pixels, np.ndarray) else pixels.size
        )
    return sizes


def _pixels(image: object, resolution: int, index: int) -> NDArray[np.uint8]:
    found = _as_pillow_or_array(image, index)
    return (
        square_of_array(found, resolution)
        if isinstance(found, np.ndarray)
        else square(found, resolution)
    )


def _as_pillow_or_array(image: object, index: int) -> PilImage | NDArray[np.uint8]:
    """A Pillow image as it is, anything else as bytes (height, width, 3), (height, width, 1) or (height, width)."""
    from PIL import Image

    if isinstance(image, Image.Image):
        return image
    is_tensor = hasattr(image, "detach")
    array = np.asarray(image.detach().cpu() if is_tensor else image)  # type: ignore[attr-defined]
    if is_tensor and array.ndim == 3:
        array = array.transpose(1, 2, 0)
    if (
        array.ndim not in (2, 3)
        or 0 in array.shape
        or (array.ndim == 3 and array.shape[2] not in (1, 3))
    ):
        raise InputError(
            "an item is a Pillow image, an array (height, width, 3) or a tensor (3, height, width), "
            f"item {index} is {type(image).__name__} of shape {array.shape}"
        )
    return _as_bytes(array, index)


def _as_bytes(array: NDArray[np.generic], index: int) -> NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return array.view(np.uint8)
    if not np.issubdtype(array.dtype, np.floating):
        raise InputError(
            f"pixels are uint8, or floats from 0 to 1, item {index} has {array.dtype}"
        )
    values = array.astype(np.float32)
    if not (values.min() >= 0 and values.max() <= 1):
        raise InputError(
            f"float pixels are from 0 to 1, item {index} has {values.min():.3g} to {values.max():.3g}; "
            "hand in the data set without normalisation"
        )
    return np.rint(values * 255).astype(np.uint8)


def _class_index(label: object, index: int) -> int:
    value = np.asarray(label.detach().cpu() if hasattr(label, "detach") else label)
    if value.size != 1 or not np.issubdtype(value.dtype, np.integer) or value.item() < 0:
        raise InputError(f"a label is a class index from 0, item {index} has {label!r}")
    return int(value.item())
