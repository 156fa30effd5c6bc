from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgekit.core.errors import InputError
from edgekit.core.images.decode import Unreadable
from edgekit.core.images.folder import list_folder
from tests.core.conftest import MakeFolder


def test_classes_and_images_come_sorted(tmp_path: Path, make_folder: MakeFolder) -> None:
    listing = list_folder(make_folder(tmp_path, {"b": 2, "a": 1}))
    assert listing.labels == ("a", "b")
    names = [(item.name, item.label) for item in listing.train]
    assert names == [("a/000.png", 0), ("b/000.png", 1), ("b/001.png", 1)]
    assert listing.test is None


def test_train_and_test_are_two_parts(tmp_path: Path, make_folder: MakeFolder) -> None:
    make_folder(tmp_path / "train", {"a": 3, "b": 2})
    make_folder(tmp_path / "test", {"a": 1, "b": 1})
    (tmp_path / "val").mkdir()
    listing = list_folder(tmp_path)
    assert (len(listing.train), len(listing.test or ())) == (5, 2)
    assert listing.train[0].name == "train/a/000.png"


def test_what_is_no_image_is_left_out(tmp_path: Path, make_folder: MakeFolder) -> None:
    make_folder(tmp_path, {"a": 1, "b": 1})
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / ".cache").mkdir()
    (tmp_path / "a" / ".hidden.png").write_bytes(b"")
    (tmp_path / "a" / "readme.md").write_text("x")
    os.mkfifo(tmp_path / "a" / "pipe.png")
    assert len(list_folder(tmp_path).train) == 2


def test_links_out_of_the_folder_are_not_followed(tmp_path: Path, make_folder: MakeFolder) -> None:
    secret = make_folder(tmp_path / "outside", {"c": 1}) / "c" / "000.png"
    root = make_folder(tmp_path / "root", {"a": 1, "b": 1})
    (root / "a" / "link.png").symlink_to(secret)
    (root / "a" / "loop.png").symlink_to(root / "a" / "loop.png")
    (root / "b" / "inner.png").symlink_to(root / "a" / "000.png")
    listed = {item.name: item.data for item in list_folder(root).train}
    assert isinstance(listed["a/link.png"], Unreadable)
    assert isinstance(listed["a/loop.png"], Unreadable)
    assert isinstance(listed["b/inner.png"], Path)


def test_a_class_folder_that_is_a_link_outside_is_refused(
    tmp_path: Path, make_folder: MakeFolder
) -> None:
    outside = make_folder(tmp_path / "outside", {"c": 1})
    root = make_folder(tmp_path / "root", {"a": 1, "b": 1})
    (root / "c").symlink_to(outside / "c")
    with pytest.raises(InputError, match="'c' is a link out"):
        list_folder(root)


def test_names_that_are_no_utf8_can_still_be_written(
    tmp_path: Path, make_folder: MakeFolder
) -> None:
    root = make_folder(tmp_path, {"a": 1, "b": 1})
    os.rename(root / "a" / "000.png", os.fsencode(root / "a") + b"/\xff.png")
    names = [item.name for item in list_folder(root).train]
    assert names[0].encode() == "a/\N{REPLACEMENT CHARACTER}.png".encode()


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no folder"):
        list_folder(tmp_path / "absent")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"two class folders .* has 0"):
        list_folder(tmp_path)


def test_one_class_is_refused(tmp_path: Path, make_folder: MakeFolder) -> None:
    with pytest.raises(InputError, match=r"two class folders .* has 1"):
        list_folder(make_folder(tmp_path, {"a": 3}))


def test_an_empty_class_is_refused_by_name(tmp_path: Path, make_folder: MakeFolder) -> None:
    with pytest.raises(InputError, match=r"rose has none"):
        list_folder(make_folder(tmp_path, {"daisy": 3, "rose": 0}))


def test_different_classes_in_train_and_test_are_refused(
    tmp_path: Path, make_folder: MakeFolder
) -> None:
    make_folder(tmp_path / "train", {"a": 1, "b": 1})
    make_folder(tmp_path / "test", {"a": 1, "c": 1})
    with pytest.raises(InputError, match="has 'b'"):
        list_folder(tmp_path)
