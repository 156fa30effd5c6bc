"""Class folders: ``root/class/x.png``, or ``root/train/class/x.png`` and ``root/test/...``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from edgekit.core.errors import InputError
from edgekit.core.images.decode import SUFFIXES, Unreadable
from edgekit.core.images.gather import Encoded


@dataclass(frozen=True, slots=True)
class FolderListing:
    """What lies in a folder, not decoded yet.

    Attributes:
        labels: class names, sorted.
        train: images of the training part, or all of them where there is no test part.
        test: images of the test part; None where there is none.
    """

    labels: tuple[str, ...]
    train: tuple[Encoded, ...]
    test: tuple[Encoded, ...] | None


def list_folder(root: Path) -> FolderListing:
    """List class folders in sorted order.

    Hidden files, files that are no images by their suffix and folders within class folders are
    left out, and so is anything beside ``train`` and ``test`` where both are there. Links that
    lead out of the folder are not followed.

    Raises:
        InputError: no folder, fewer than two classes, a class without an image, or different
            classes in train and test.
    """
    if not root.is_dir():
        raise InputError(f"a folder of class folders is needed, {root} is no folder")
    if not (root / "train").is_dir() or not (root / "test").is_dir():
        labels, images = _list_classes(root, root)
        return FolderListing(labels, images, None)
    labels, train = _list_classes(root / "train", root)
    test_labels, test = _list_classes(root / "test", root)
    if labels != test_labels:
        odd = sorted(set(labels) ^ set(test_labels))[0]
        raise InputError(
            f"train and test need the same class folders, only one of them in {root} has {odd!r}"
        )
    return FolderListing(labels, train, test)


def _list_classes(part: Path, root: Path) -> tuple[tuple[str, ...], tuple[Encoded, ...]]:
    folders = [path for path in _visible(part) if path.is_dir()]
    if len(folders) < 2:
        raise InputError(
            f"at least two class folders are needed, {part} has {len(folders)}; lay the images "
            "out as class/x.png, or as train/class/x.png and test/class/x.png"
        )
    images: list[Encoded] = []
    for label, folder in enumerate(folders):
        images += _list_class(folder, label, root)
    return tuple(_text(folder.name) for folder in folders), tuple(images)


def _list_class(folder: Path, label: int, root: Path) -> list[Encoded]:
    if not _inside(folder, root):
        raise InputError(f"class folders must lie in {root}, {folder.name!r} is a link out of it")
    images = [
        Encoded(
            _text(path.relative_to(root).as_posix()),
            path if _inside(path, root) else Unreadable("a link out of the folder"),
            label,
        )
        for path in _visible(folder)
        if path.suffix.lower() in SUFFIXES and (path.is_file() or path.is_symlink())
    ]
    if not images:
        raise InputError(
            f"each class folder needs images directly in it, {folder} has none; "
            "add some, remove the folder, or name the parts train and test"
        )
    return images


def _visible(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise InputError(f"{folder} must be a folder one may read: {error.strerror}") from error


def _inside(path: Path, root: Path) -> bool:
    try:
        return path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError):  # links that lead in a circle
        return False


def _text(name: str) -> str:
    """A file name that can be written as UTF-8."""
    return os.fsencode(name).decode("utf-8", "replace")
