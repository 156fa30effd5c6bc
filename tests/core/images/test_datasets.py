from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from edgekit.core.errors import InputError
from edgekit.core.images.datasets import dataset_resolution, gather_dataset
from edgekit.core.progress import Progress

_QUIET = Progress(quiet=True)


class _Broken:
    """Ten items, of which some cannot be opened."""

    def __init__(self, n_broken: int) -> None:
        self.n_broken = n_broken

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int, /) -> tuple[object, object]:
        if index < self.n_broken:
            raise UnidentifiedImageError("cannot identify image file <_io.BytesIO at 0x7f>")
        return np.full((8, 8, 3), index, dtype=np.uint8), index


def _one(image: object, label: object = 1) -> list[tuple[object, object]]:
    return [(image, label)]


@pytest.mark.parametrize(
    "image",
    [
        Image.new("RGB", (9, 9), (51, 51, 51)),
        Image.new("L", (9, 12), 51),
        np.full((9, 12, 3), 51, dtype=np.uint8),
        np.full((9, 9), 51, dtype=np.uint8),
        np.full((9, 9, 1), 0.2, dtype=np.float64),
    ],
    ids=["rgb", "grey", "array", "plane", "float"],
)
def test_pillow_images_and_arrays_are_read(image: object) -> None:
    read = gather_dataset(_one(image), 8, "data", _QUIET)
    assert read.images.shape == (1, 8, 8, 3)
    assert (read.images == 51).all()
    assert read.labels.tolist() == [1]


@pytest.mark.parametrize(
    ("image", "named"),
    [
        (np.full((8, 8, 3), 1.5), r"0\.\.1, item 0 has 1\.5"),
        (np.full((8, 8, 3), np.nan), r"0\.\.1"),
        (np.zeros((3, 8, 8), dtype=np.uint8), r"ndarray of \(3, 8, 8\)"),
        (np.zeros((8, 8, 3), dtype=np.int64), "int64"),
        (np.zeros((0, 8, 3), dtype=np.uint8), "item 0"),
        ("a.png", "str of"),
    ],
)
def test_other_images_are_refused(image: object, named: str) -> None:
    with pytest.raises(InputError, match=named):
        gather_dataset(_one(image), 8, "data", _QUIET)


@pytest.mark.parametrize("label", [-1, 0.5, "cat", True, 10**9, [1, 2]])
def test_a_label_that_is_no_class_index_is_refused(label: object) -> None:
    with pytest.raises(InputError, match="class index"):
        gather_dataset(_one(np.zeros((8, 8, 3), dtype=np.uint8), label), 8, "data", _QUIET)


def test_items_that_cannot_be_opened_are_skipped_and_named() -> None:
    read = gather_dataset(_Broken(2), 8, "data", _QUIET)
    assert read.labels.tolist() == list(range(2, 10))
    assert read.skipped == tuple(
        f"item {index}: not an image of a known format" for index in range(2)
    )
    with pytest.raises(InputError, match="3 of 10"):
        gather_dataset(_Broken(3), 8, "data", _QUIET)


def test_the_resolution_comes_from_the_items() -> None:
    assert dataset_resolution(_Broken(2)) == 32
    assert dataset_resolution(_one(Image.new("L", (130, 100)))) == 96
    assert dataset_resolution(_one(np.zeros((70, 100, 3), dtype=np.uint8))) == 64
