from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import edgekit.core.images.gather as gather_module
from edgekit.core.errors import InputError
from edgekit.core.images.decode import Unreadable
from edgekit.core.images.gather import Encoded, check_memory, fitting_resolution, gather
from edgekit.core.progress import Progress

_QUIET = Progress(quiet=True)


def _png(value: int, side: int = 8) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), (value, value, value)).save(buffer, "PNG")
    return buffer.getvalue()


def _items(n: int) -> list[Encoded]:
    return [Encoded(f"{index}.png", _png(index % 256), index % 3) for index in range(n)]


def test_images_stay_in_order_with_any_number_of_threads(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    results = []
    for n_cores in (1, 7):
        monkeypatch.setattr(os, "cpu_count", lambda n_cores=n_cores: n_cores)
        results.append(gather(_items(300), 300, 8, "here", _QUIET))
    for result in results:
        assert result.images[:, 0, 0, 0].tolist() == [index % 256 for index in range(300)]
        assert result.labels.tolist() == [index % 3 for index in range(300)]
        assert result.images.flags.c_contiguous
    assert results[0].digest == results[1].digest


def test_unreadable_images_are_named_with_their_reason(tmp_path: Path) -> None:
    items = _items(20)
    items[3] = Encoded("cut.png", _png(1)[:40], 0)
    items[5] = Encoded("gone.png", tmp_path / "gone.png", 1)
    items[7] = Encoded("linked.png", Unreadable("a link out of the folder"), 1)
    read = gather(items, 20, 8, "here", _QUIET)
    assert [line.split(":")[0] for line in read.skipped] == ["cut.png", "gone.png", "linked.png"]
    assert read.skipped[1] == "gone.png: No such file or directory"
    assert read.skipped[2] == "linked.png: a link out of the folder"
    assert len(read.images) == len(read.labels) == 17
    assert read.images[3, 0, 0, 0] == 4


def test_more_than_a_fifth_unreadable_is_refused() -> None:
    damaged = [Encoded("bad.png", b"x", 0)]
    assert len(gather(_items(8) + 2 * damaged, 10, 8, "here", _QUIET).skipped) == 2
    with pytest.raises(InputError, match=r"20%.*3 of 10 in here.*bad\.png"):
        gather(_items(7) + 3 * damaged, 10, 8, "here", _QUIET)


def test_a_file_that_is_too_large_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gather_module, "MAX_ENCODED_BYTES", 1000)
    (tmp_path / "large.png").write_bytes(bytes(2000))
    items = [*_items(9), Encoded("large.png", tmp_path / "large.png", 0)]
    assert gather(items, 10, 8, "here", _QUIET).skipped == (
        "large.png: 2 kB is too large for one image",
    )


def test_the_digest_follows_names_labels_and_content() -> None:
    changes = [
        Encoded("0.png", _png(0), 0),
        Encoded("1.png", _png(0), 0),
        Encoded("0.png", _png(1), 0),
        Encoded("0.png", _png(0), 1),
        Encoded("0.png", _png(0, side=9), 0),
    ]
    digests = [gather([item], 1, 8, "here", _QUIET).digest for item in changes]
    assert len(set(digests)) == len(digests)


def test_memory_is_checked_before_it_is_taken() -> None:
    check_memory(1000, 32, 1000 * 32 * 32 * 3)
    with pytest.raises(InputError, match=r"3\.07 MB, 1000 of 64x64 .* use resolution 32"):
        check_memory(1000, 64, 1000 * 32 * 32 * 3)
    with pytest.raises(InputError, match="use fewer images"):
        check_memory(10**12, 64, 2**30)


@pytest.mark.parametrize("resolution", [-1, 0, 7, 1025])
def test_a_resolution_out_of_range_is_refused(resolution: int) -> None:
    with pytest.raises(InputError, match="from 8 to 1024"):
        check_memory(1, resolution, 2**30)


def test_the_fitting_resolution_leaves_unreadable_images_out() -> None:
    items = [Encoded("a.png", _png(1, side=100), 0), Encoded("b.png", b"x", 0)]
    assert fitting_resolution([*items, Encoded("c.png", Unreadable("gone"), 0)]) == 96
    assert fitting_resolution(items[1:]) == 32


def test_progress_is_shown_when_it_takes_long() -> None:
    stream = io.StringIO()
    times_s = iter(np.arange(0.0, 100.0, 4.0).tolist())
    gather(
        _items(100), 100, 8, "/data/flowers", Progress(stream=stream, clock=lambda: next(times_s))
    )
    assert stream.getvalue().startswith("reading flowers: 64/100, 0:04 gone, 0:02 left\n")
