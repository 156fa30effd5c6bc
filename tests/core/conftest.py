"""Small pictures on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

MakeFolder = Callable[[Path, Mapping[str, int]], Path]


@pytest.fixture
def make_folder() -> MakeFolder:
    """Writes class folders of 40x48 PNG pictures; each class has a brightness of its own."""

    def make(root: Path, n_images: Mapping[str, int]) -> Path:
        rng = np.random.default_rng(0)
        for number, (name, count) in enumerate(n_images.items()):
            (root / name).mkdir(parents=True)
            for index in range(count):
                low = 40 * number
                pixels = rng.integers(low, low + 40, size=(40, 48, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(root / name / f"{index:03d}.png")
        return root

    return make
