"""One image: from encoded bytes or pixels to a square of RGB bytes."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image as PilImage

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
SUFFIXES = (
    ".png",
    ".jpg",
    ".jpeg",
    ".webp",
    ".bmp",
    ".gif",
    ".tif",
    ".tiff",
    ".ppm",
    ".pgm",
)
MAX_RESOLUTION = 1024


class Unreadable(Exception):
    """An image cannot be read; the message is the reason."""


@contextmanager
def pillow_warnings() -> Iterator[None]:
    """Inside the block Pillow is silent about oddities, and too many pixels are an error.

    Python keeps warning filters per process: enter this in one thread, around the workers.
    """
    from PIL import Image

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def decode_square(data: bytes, resolution: int) -> NDArray[np.uint8]:
    """The centre square of an encoded image, turned upright and scaled.

    Args:
        data: a file's content in one of ``FORMATS``.
        resolution: side of the result in pixels.

    Returns:
        RGB, uint8, (resolution, resolution, 3).

    Raises:
        Unreadable: not an image, damaged, too many pixels, or pixels without a fixed range.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            upright = ImageOps.exif_transpose(image) if "exif" in image.info else image
            return square(upright, resolution)
    except Exception as error:  # damaged files make Pillow's decoders raise nearly anything
        raise Unreadable(reason_of(error)) from error


def reason_of(error: Exception) -> str:
    """One short line from an error, without memory addresses."""
    text = str(error).strip() or type(error).__name__
    known = "cannot identify" not in text
    return text.splitlines()[0][:120] if known else "not an image of a known format"


def square(image: PilImage, resolution: int) -> NDArray[np.uint8]:
    """The centre square of a Pillow image, scaled with Pillow's antialiasing bilinear filter.

    The same as scaling the shorter side and cropping the centre, in one step. Transparency is
    dropped, 16-bit grey keeps its high bytes.

    Returns:
        RGB, uint8, (resolution, resolution, 3).

    Raises:
        Unreadable: pixels without a fixed range.
    """
    from PIL import Image

    rgb = _as_rgb(image)
    if rgb.size != (resolution, resolution):
        side = min(rgb.size)
        left, top = (rgb.width - side) / 2, (rgb.height - side) / 2
        box = (left, top, left + side, top + side)
        rgb = rgb.resize((resolution, resolution), Image.Resampling.BILINEAR, box=box)
    return np.asarray(rgb, dtype=np.uint8)


def square_of_array(pixels: NDArray[np.uint8], resolution: int) -> NDArray[np.uint8]:
    """As ``square``, from RGB (height, width, 3) or grey (height, width, 1) or (height, width)."""
    from PIL import Image

    plain = pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    return square(Image.fromarray(np.ascontiguousarray(plain)), resolution)


def size_of(data: bytes) -> tuple[int, int] | None:
    """Width and height from the header alone; None when there is no readable one."""
    from PIL import Image

    try:
        with pillow_warnings(), Image.open(io.BytesIO(data), formats=FORMATS) as image:
            return image.size
    except Exception:  # as in decode_square, where the image is then named
        return None


def default_resolution(sizes: Sequence[tuple[int, int]]) -> int:
    """A multiple of 32 from 32 to 224, not above the median shorter side of the images.

    Example:
        >>> default_resolution([(640, 480), (100, 300), (80, 130)])
        96
    """
    if not sizes:
        return 32
    median = float(np.median([min(size) for size in sizes]))
    return min(224, max(32, int(median) // 32 * 32))


def _as_rgb(image: PilImage) -> PilImage:
    from PIL import Image

    if image.mode == "RGB":
        return image
    if image.mode.startswith("I;16"):
        high_bytes = (np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8)
        return Image.fromarray(high_bytes).convert("RGB")
    if image.mode in ("I", "F"):
        raise Unreadable(f"pixels of mode {image.mode} have no fixed range")
    return image.convert("RGB")
