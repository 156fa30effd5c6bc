from __future__ import annotations

import contextlib
import io
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edgekit.core.images.decode import (
    FORMATS,
    Unreadable,
    decode_square,
    default_resolution,
    pillow_warnings,
    size_of,
    square_of_array,
)


def _encoded(pixels: np.ndarray, file_format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, file_format, **options)
    return buffer.getvalue()


def _picture(height: int = 24, width: int = 20) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)


_SAMPLES = {name: _encoded(_picture(), name) for name in FORMATS}


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_pixels_come_back_unchanged(file_format: str) -> None:
    pixels = _picture(20, 20)
    assert np.array_equal(decode_square(_encoded(pixels, file_format), 20), pixels)


def test_the_centre_square_is_taken() -> None:
    pixels = np.zeros((10, 30, 3), dtype=np.uint8)
    pixels[:, 10:20] = 200
    assert (decode_square(_encoded(pixels, "PNG"), 10) == 200).all()
    assert (decode_square(_encoded(pixels.transpose(1, 0, 2), "PNG"), 10) == 200).all()


def test_scaling_down_averages() -> None:
    board = np.indices((64, 64)).sum(axis=0) % 2 * 255
    pixels = np.repeat(board[:, :, None], 3, axis=2).astype(np.uint8)
    small = decode_square(_encoded(pixels, "PNG"), 8)
    assert np.abs(small.astype(int) - 127).max() <= 2


def test_a_photo_is_turned_upright() -> None:
    pixels = np.zeros((16, 16, 3), dtype=np.uint8)
    pixels[:8] = 255
    exif = Image.Exif()
    exif[0x0112] = 3  # turned by 180 degrees
    upright = decode_square(_encoded(pixels, "PNG", exif=exif.tobytes()), 16)
    assert np.array_equal(upright, pixels[::-1])


def test_grey_palette_and_transparent_pictures_become_rgb() -> None:
    grey = _picture(16, 16)[:, :, 0]
    assert np.array_equal(decode_square(_encoded(grey, "PNG"), 16), np.stack([grey] * 3, axis=2))
    colours = np.where(grey[:, :, None] > 127, (250, 10, 20), (30, 40, 50)).astype(np.uint8)
    palette, alpha = io.BytesIO(), io.BytesIO()
    Image.fromarray(colours).quantize(2).save(palette, "PNG")
    assert np.array_equal(decode_square(palette.getvalue(), 16), colours)
    Image.fromarray(colours).convert("RGBA").save(alpha, "PNG")
    assert np.array_equal(decode_square(alpha.getvalue(), 16), colours)


def test_16_bit_grey_keeps_its_high_bytes() -> None:
    deep = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    square = decode_square(_encoded(deep, "PNG"), 16)
    assert np.array_equal(square[:, :, 0], np.arange(256).reshape(16, 16))


def test_pixels_without_a_range_are_unreadable() -> None:
    floats = _encoded(np.full((8, 8), 0.5, dtype=np.float32), "TIFF")
    with pytest.raises(Unreadable, match="no fixed range"):
        decode_square(floats, 8)


def test_a_decompression_bomb_is_unreadable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)
    with pillow_warnings(), pytest.raises(Unreadable, match="exceeds limit"):
        decode_square(_encoded(_picture(20, 20), "PNG"), 8)


def test_text_is_no_image() -> None:
    with pytest.raises(Unreadable, match="not an image of a known format"):
        decode_square(b"hello", 8)
    assert size_of(b"hello") is None


def test_the_size_comes_from_the_header_of_a_cut_file() -> None:
    data = _encoded(_picture(24, 20), "PNG")[:60]
    assert size_of(data) == (20, 24)
    with pytest.raises(Unreadable):
        decode_square(data, 8)


@given(
    name=st.sampled_from(sorted(_SAMPLES)),
    changes=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), max_size=6),
    n_kept=st.integers(0, 3000),
)
def test_damaged_files_are_decoded_or_unreadable(
    name: str, changes: list[tuple[int, int]], n_kept: int
) -> None:
    data = bytearray(_SAMPLES[name])
    for position, value in changes:
        data[position % len(data)] = value
    with pillow_warnings(), contextlib.suppress(Unreadable):
        square = decode_square(bytes(data[:n_kept]), 8)
        assert (square.shape, square.dtype) == ((8, 8, 3), np.uint8)


def test_warning_filters_are_as_before_afterwards() -> None:
    before = list(warnings.filters)
    with pillow_warnings():
        assert list(warnings.filters) != before
    assert list(warnings.filters) == before


@pytest.mark.parametrize("shape", [(6, 6), (6, 6, 1), (6, 9, 3)])
def test_arrays_are_squared_too(shape: tuple[int, ...]) -> None:
    assert (square_of_array(np.full(shape, 9, dtype=np.uint8), 8) == 9).all()


@pytest.mark.parametrize(
    ("sizes", "resolution"),
    [([], 32), ([(8, 8)], 32), ([(40, 63)], 32), ([(64, 64)], 64), ([(4000, 3000)], 224)],
)
def test_the_default_resolution_does_not_scale_up_past_32(
    sizes: list[tuple[int, int]], resolution: int
) -> None:
    assert default_resolution(sizes) == resolution
