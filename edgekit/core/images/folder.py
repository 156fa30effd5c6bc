"""Class folders of images: ``root/class/*.png``, or ``root/train/class/*.png`` beside ``root/test/class/*.png``."""

from __future__ import annotations

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
    """List class folders in sorted order; hidden files and files that are no images by their suffix are left out.

    Links that lead out of the folder are not followed.

    Raises:
        InputError: no folder, fewer than two classes, a class without an image, different classes in train and test.
    """
    if not root.is_dir():
        raise InputError(
            f"images are read from a folder of class folders, {root} is not a folder; check the path"
        )
    if not (root / "train").is_dir() or not (root / "test").is_dir():
        labels, images = _list_classes(root, root)
        return FolderListing(labels, images, None)
    labels, train = _list_classes(root / "train", root)
    test_labels, test = _list_classes(root / "test", root)
    if labels != test_labels:
        odd = sorted(set(labels) ^ set(test_labels))[0]
        raise InputError(
            f"train and test need the same class folders, {odd!r} is in one of them only in {root}"
        )
    return FolderListing(labels, train, test)


def _list_classes(part: Path, root: Path) -> tuple[tuple[str, ...], tuple[Encoded, ...]]:
    folders = [path for path in _visible(part) if path.is_dir()]
    if len(folders) < 2:
        raise InputError(
            f"at least two class folders are needed, {part} has {len(folders)}; "
            "lay the images out as class/image.png, or as train/class/image.png and test/class/image.png"
        )
    images: list[Encoded] = []
    for index, folder in enumerate(folders):
        if not _inside(folder, root):
            raise InputError(
                f"class folders must lie inside {root}, {folder.name!r} is a link out of it; copy it in"
            )
        found = [_encoded(path, index, root) for path in _visible(folder) if _is_image(path)]
        if not found:
            raise InputError(
                f"each class folder needs images, {folder} has none; add some or remove the folder"
            )
        images += found
    return tuple(folder.name for folder in folders), tuple(images)


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and (path.is_file() or path.is_symlink())


def _inside(path: Path, root: Path) -> bool:
    return path.resolve().is_relative_to(root.resolve())


def _encoded(path: Path, label: int, root: Path) -> Encoded:
    name = path.relative_to(root).as_posix()
    return Encoded(
        name, path if _inside(path, root) else Unreadable("a link out of the folder"), label
    )
