"""Many images: decoded in threads and in their order, the unreadable ones counted and named."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekit.core.errors import InputError
from edgekit.core.images.decode import (
    MAX_RESOLUTION,
    Unreadable,
    decode_square,
    default_resolution,
    pillow_warnings,
    size_of,
)
from edgekit.core.progress import Progress, Update
from edgekit.core.units import format_size

MIN_RESOLUTION = 8
N_LOOKED_AT = 256
MAX_ENCODED_BYTES = 256 * 2**20
MAX_UNREADABLE_SHARE = 0.2
_CHUNK = 64


@dataclass(frozen=True, slots=True)
class Encoded:
    """An image that is not decoded yet.

    Attributes:
        name: what a person knows it by.
        data: the file's content, the file, or the reason why there is neither.
        label: class index.
    """

    name: str
    data: bytes | Path | Unreadable
    label: int


@dataclass(frozen=True, slots=True, eq=False)
class LabelledImages:
    """Images that were read.

    Attributes:
        images: RGB, uint8, (n, resolution, resolution, 3), C-contiguous.
        labels: class indices, int64, (n,).
        skipped: name and reason of every unreadable image.
        digest: SHA-256 over what was read, in order, as hex.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    skipped: tuple[str, ...]
    digest: str


def check_memory(n_images: int, resolution: int, max_bytes: int) -> None:
    """Refuse a resolution out of range, or a data set that would not fit.

    Raises:
        InputError: ``resolution`` outside 8..1024, or more than ``max_bytes`` of pixels.
    """
    if not MIN_RESOLUTION <= resolution <= MAX_RESOLUTION:
        bounds = f"from {MIN_RESOLUTION} to {MAX_RESOLUTION} pixels"
        raise InputError(f"a resolution is {bounds}, got {resolution}")
    n_bytes = n_images * resolution * resolution * 3
    if n_bytes > max_bytes:
        fitting = int((max_bytes / (3 * n_images)) ** 0.5) // 8 * 8
        hint = f"use resolution {fitting}" if fitting >= MIN_RESOLUTION else "use fewer images"
        raise InputError(
            f"decoded images may take {format_size(max_bytes)}, {n_images} of "
            f"{resolution}x{resolution} pixels take {format_size(n_bytes)}; {hint}"
        )


def fitting_resolution(items: Sequence[Encoded]) -> int:
    """Resolution from the headers of some images, evenly spread; see ``default_resolution``."""
    sizes = []
    for item in items[:: max(1, len(items) // N_LOOKED_AT)]:
        try:
            sizes.append(size_of(bytes_of(item.data)))
        except Unreadable:  # named when it is decoded
            continue
    return default_resolution([size for size in sizes if size is not None])


def gather(
    items: Iterable[Encoded], n_items: int, resolution: int, where: str, progress: Progress
) -> LabelledImages:
    """Decode images in threads; the result does not depend on their number.

    Args:
        items: the images, at most ``n_items``; consumed as the decoding goes on.
        n_items: how many there are, to reserve their memory once.
        resolution: side of the decoded squares in pixels.
        where: the folder or file, for messages.
        progress: how to show it.

    Raises:
        InputError: more than a fifth of the images cannot be read.
    """
    images = np.empty((n_items, resolution, resolution, 3), dtype=np.uint8)
    labels: list[int] = []
    skipped: list[str] = []
    digest = hashlib.sha256()
    with pillow_warnings(), progress.track(n_items, f"reading {Path(where).name}") as update:
        for item, read in _decoded(items, resolution, update):
            digest.update(f"{item.name}\0{item.label}\0{read.digest}\n".encode())
            if isinstance(read.pixels, str):
                skipped.append(f"{item.name}: {read.pixels}")
            else:
                images[len(labels)] = read.pixels
                labels.append(item.label)
    check_skipped(skipped, n_items, where)
    numbers = np.asarray(labels, dtype=np.int64)
    return LabelledImages(images[: len(labels)], numbers, tuple(skipped), digest.hexdigest())


def check_skipped(skipped: Sequence[str], n_items: int, where: str) -> None:
    """Refuse a data set of which more than a fifth cannot be read.

    Raises:
        InputError: names the first unreadable image.
    """
    if len(skipped) > MAX_UNREADABLE_SHARE * n_items:
        raise InputError(
            f"at most {MAX_UNREADABLE_SHARE:.0%} of the images may be unreadable, "
            f"{len(skipped)} of {n_items} in {where} are, the first is {skipped[0]}; "
            "repair or remove them"
        )


def bytes_of(data: bytes | Path | Unreadable) -> bytes:
    """The encoded image.

    Raises:
        Unreadable: missing, not a file one may read, or larger than 256 MiB.
    """
    if isinstance(data, Unreadable):
        raise data
    try:
        n_bytes = len(data) if isinstance(data, bytes) else data.stat().st_size
        if n_bytes > MAX_ENCODED_BYTES:
            raise Unreadable(f"{format_size(n_bytes)} is too large for one image")
        return data if isinstance(data, bytes) else data.read_bytes()
    except OSError as error:
        raise Unreadable(error.strerror or type(error).__name__) from error


@dataclass(frozen=True, slots=True, eq=False)
class _Read:
    """Pixels, or the reason why there are none, and the digest of the encoded bytes."""

    pixels: NDArray[np.uint8] | str
    digest: str


def _decoded(
    items: Iterable[Encoded], resolution: int, update: Update
) -> Iterator[tuple[Encoded, _Read]]:
    """Decode chunk by chunk, in order, with few chunks in flight."""
    n_workers = os.cpu_count() or 1
    remaining, n_done = iter(items), 0
    pending: deque[tuple[list[Encoded], Future[list[_Read]]]] = deque()
    with ThreadPoolExecutor(n_workers) as pool:
        while True:
            while len(pending) < 2 * n_workers:
                if not (chunk := list(itertools.islice(remaining, _CHUNK))):
                    break
                pending.append((chunk, pool.submit(_read_chunk, chunk, resolution)))
            if not pending:
                return
            chunk, future = pending.popleft()
            yield from zip(chunk, future.result(), strict=True)
            n_done += len(chunk)
            update(n_done)


def _read_chunk(chunk: list[Encoded], resolution: int) -> list[_Read]:
    return [_read(item, resolution) for item in chunk]


def _read(item: Encoded, resolution: int) -> _Read:
    digest = ""
    try:
        data = bytes_of(item.data)
        digest = hashlib.sha256(data).hexdigest()
        return _Read(decode_square(data, resolution), digest)
    except Unreadable as reason:
        return _Read(str(reason), digest)
