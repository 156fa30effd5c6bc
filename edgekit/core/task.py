"""A task: labelled images in four parts that do not overlap, and their preprocessing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekit.core.errors import InputError
from edgekit.core.images.cut import Cut, check_classes
from edgekit.core.images.datasets import Dataset, dataset_resolution, digest_of, gather_dataset
from edgekit.core.images.decode import square_of_array
from edgekit.core.images.folder import list_folder
from edgekit.core.images.gather import LabelledImages, check_memory, fitting_resolution, gather
from edgekit.core.images.parquet import find_files, open_part
from edgekit.core.progress import Progress

DEFAULT_MAX_BYTES = 8 * 2**30
N_NAMED = 20
_CHUNK = 1024

Source = Mapping[str, str | int]
Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How an image becomes the model's input.

    The centre square of the image is scaled to the resolution, its RGB values are brought to
    0..1, and each channel becomes ``(value - mean) / std``.

    Attributes:
        resolution: side of the square in pixels.
        mean: of each channel, red first, in 0..1.
        std: of each channel, above 0.
        layout: order of the input's axes, ``"NCHW"``.

    Raises:
        InputError: a value out of range.

    Example:
        >>> grey = Preprocessing(8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        >>> grey.apply(np.full((1, 8, 8, 3), 255, dtype=np.uint8)).shape
        (1, 3, 8, 8)
    """

    resolution: int
    mean: Triple
    std: Triple
    layout: str = "NCHW"

    def __post_init__(self) -> None:
        check_memory(1, self.resolution, DEFAULT_MAX_BYTES)
        values = self.mean + self.std
        if len(self.mean) != 3 or len(self.std) != 3 or not all(map(math.isfinite, values)):
            raise InputError(f"mean and std are three numbers each, got {self.mean}, {self.std}")
        if not min(self.std) > 0:
            raise InputError(f"each std must be above zero, got {self.std}")
        if self.layout != "NCHW":
            raise InputError(f"the layout must be 'NCHW', got {self.layout!r}")

    def apply(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The model's input.

        Args:
            images: RGB, uint8, (n, height, width, 3).

        Returns:
            float32, (n, 3, resolution, resolution), C-contiguous.

        Raises:
            InputError: another shape or type.
        """
        side = self.resolution
        if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
            got = f"{images.dtype} {images.shape}"
            raise InputError(f"images are uint8 (n, height, width, 3), got {got}")
        squares = images
        if images.shape[1:3] != (side, side):
            squares = np.empty((len(images), side, side, 3), dtype=np.uint8)
            for index, image in enumerate(images):
                squares[index] = square_of_array(image, side)
        std = np.asarray(self.std)
        scale = (1 / (255 * std)).astype(np.float32)
        shift = (-np.asarray(self.mean) / std).astype(np.float32)
        out = np.empty((len(images), 3, side, side), dtype=np.float32)
        np.multiply(squares.transpose(0, 3, 1, 2), scale[:, None, None], out=out)
        out += shift[:, None, None]
        return out

    def to_json(self) -> dict[str, object]:
        """As plain values for a file."""
        return {
            "resolution": self.resolution,
            "mean": list(self.mean),
            "std": list(self.std),
            "layout": self.layout,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, object]) -> Preprocessing:
        """Inverse of ``to_json``.

        Raises:
            InputError: a value is missing, of another type or out of range.
        """
        resolution, layout = document.get("resolution"), document.get("layout")
        if not isinstance(resolution, int) or isinstance(resolution, bool):
            raise InputError(f"a resolution is a whole number of pixels, got {resolution!r}")
        if not isinstance(layout, str):
            raise InputError(f"a layout is text, got {layout!r}")
        mean, std = _triple(document.get("mean")), _triple(document.get("std"))
        return cls(resolution, mean, std, layout)


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """One part of a task.

    Attributes:
        images: RGB, uint8, (n, resolution, resolution, 3), C-contiguous.
        labels: class indices, int64, (n,).
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def evenly(self, n_most: int) -> Split:
        """At most ``n_most`` images, spread evenly: the order may follow the classes."""
        if len(self) <= n_most:
            return self
        index = np.linspace(0, len(self) - 1, n_most).astype(np.int64)
        return Split(self.images[index], self.labels[index])


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """Images to learn from and to be judged by.

    Validation and calibration are cut from the training data with the seed, class by class. The
    test part is the data set's own; where it has none, one is cut off that does not depend on the
    seed, so that no seed ever trains on what another is judged by.

    Attributes:
        name: short name of the data set.
        labels: class names in the order of the class indices.
        preprocessing: input size, and mean and std of ``train``.
        train: what weights are trained on.
        validation: what decisions are made on.
        calibration: what ranges for quantisation are taken from.
        test: what the result is judged by; decides nothing.
        n_skipped: images that could not be read.
        skipped: names and reasons of the first 20 of them.
        source: where it came from: kind, name, digest of what was read, seed.
    """

    name: str
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    train: Split
    validation: Split
    calibration: Split
    test: Split
    n_skipped: int
    skipped: tuple[str, ...]
    source: Source

    def normalised(self, mean: Triple, std: Triple) -> Task:
        """The same images as a pretrained network expects them.

        Args:
            mean: of each channel, red first, in 0..1.
            std: of each channel, above 0.

        Raises:
            InputError: as ``Preprocessing``.
        """
        return replace(self, preprocessing=replace(self.preprocessing, mean=mean, std=std))

    @classmethod
    def from_folder(
        cls,
        path: str | Path,
        *,
        resolution: int | None = None,
        seed: int = 0,
        validation_share: float = 0.1,
        n_calibration: int = 256,
        test_share: float = 0.2,
        max_bytes: int = DEFAULT_MAX_BYTES,
        progress: Progress | None = None,
    ) -> Task:
        """Read class folders of images, ``class/x.png`` or ``{train,test}/class/x.png``.

        Args:
            path: the folder.
            resolution: side of the decoded squares in pixels, 8 to 1024; None for the multiple of
                32 up to 224 that the median image fills.
            seed: of the cut into train, validation and calibration, 0 or more.
            validation_share: share of each class of the training part that becomes validation.
            n_calibration: calibration images, at most a fifth of the training part.
            test_share: share of each class that becomes test where there is no test folder.
            max_bytes: bound on the decoded pixels; twice that is held for a moment.
            progress: how to show it; None for stderr.

        Raises:
            InputError: no such folder, a class or all of it empty, fewer than two classes, too
                many unreadable images, or more pixels than ``max_bytes``.
        """
        root, shown = Path(path), progress or Progress()
        cut = Cut(seed, validation_share, n_calibration, test_share)
        listing = list_folder(root)
        parts = [part for part in (listing.train, listing.test) if part is not None]
        side = fitting_resolution(listing.train) if resolution is None else resolution
        check_memory(sum(map(len, parts)), side, max_bytes)
        read = [gather(part, len(part), side, str(root), shown) for part in parts]
        return _assemble("folder", root.resolve().name, listing.labels, read, cut)

    @classmethod
    def from_parquet(
        cls,
        path: str | Path,
        *,
        resolution: int | None = None,
        seed: int = 0,
        validation_share: float = 0.1,
        n_calibration: int = 256,
        test_share: float = 0.2,
        image_column: str | None = None,
        label_column: str | None = None,
        max_bytes: int = DEFAULT_MAX_BYTES,
        progress: Progress | None = None,
    ) -> Task:
        """Read parquet files in the layout of Hugging Face's ``datasets``.

        Args:
            path: a folder with ``train-*.parquet`` and, where there is a test part,
                ``test-*.parquet``; or a file.
            resolution: as in ``from_folder``.
            seed: as in ``from_folder``.
            validation_share: as in ``from_folder``.
            n_calibration: as in ``from_folder``.
            test_share: as in ``from_folder``.
            image_column: column of encoded images; None for ``image`` or the only one.
            label_column: column of class indices; None for ``label`` or the only one.
            max_bytes: as in ``from_folder``.
            progress: as in ``from_folder``.

        Raises:
            InputError: not such files, damaged, or as in ``from_folder``.
        """
        root, shown = Path(path), progress or Progress()
        cut = Cut(seed, validation_share, n_calibration, test_share)
        parts = [open_part(files, image_column, label_column) for files in find_files(root)]
        if parts[0].names != parts[-1].names:
            raise InputError(f"train and test need the same class names, those in {root} differ")
        side = fitting_resolution(parts[0].first_rows()) if resolution is None else resolution
        check_memory(sum(part.n_rows for part in parts), side, max_bytes)
        read = [gather(part.rows(), part.n_rows, side, str(root), shown) for part in parts]
        names = parts[0].names or _numbered(read)
        return _assemble("parquet", root.resolve().stem, names, read, cut)

    @classmethod
    def from_datasets(
        cls,
        train: Dataset,
        test: Dataset,
        *,
        labels: Sequence[str] | None = None,
        name: str = "dataset",
        resolution: int | None = None,
        seed: int = 0,
        validation_share: float = 0.1,
        n_calibration: int = 256,
        max_bytes: int = DEFAULT_MAX_BYTES,
        progress: Progress | None = None,
    ) -> Task:
        """Read a pair of torch data sets, before augmentation and normalisation.

        Args:
            train: items are (image, class index); an image is a Pillow image, a uint8 array
                (height, width, 3), or a tensor (3, height, width), uint8 or float in 0..1.
            test: the same, of the same classes.
            labels: class names; None for ``train.classes`` where it has them, else numbers.
            name: short name of the data set.
            resolution: as in ``from_folder``.
            seed: as in ``from_folder``.
            validation_share: as in ``from_folder``.
            n_calibration: as in ``from_folder``.
            max_bytes: as in ``from_folder``.
            progress: as in ``from_folder``.

        Raises:
            InputError: items of another kind, empty data sets, or as in ``from_folder``.
        """
        if not len(train) or not len(test):
            sizes = f"{len(train)} images for training and {len(test)} for test"
            raise InputError(f"data sets must not be empty, got {sizes}")
        cut, shown = Cut(seed, validation_share, n_calibration), progress or Progress()
        side = dataset_resolution(train) if resolution is None else resolution
        check_memory(len(train) + len(test), side, max_bytes)
        read = [gather_dataset(data, side, name, shown) for data in (train, test)]
        names = tuple(labels or getattr(train, "classes", None) or _numbered(read))
        return _assemble("datasets", name, names, read, cut)

    @classmethod
    def digits(cls, resolution: int = 32, *, seed: int = 0) -> Task:
        """The 1,797 handwritten digits that come with scikit-learn: ten classes, 8x8 grey pixels.

        Source: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998.

        Args:
            resolution: side to scale them up to, in pixels.
            seed: of the cut into train, validation and calibration.
        """
        from sklearn.datasets import load_digits

        data = load_digits()
        check_memory(len(data.images), resolution, DEFAULT_MAX_BYTES)
        grey = np.rint(data.images * (255 / 16)).astype(np.uint8)
        images = np.stack([square_of_array(image, resolution) for image in grey])
        numbers = data.target.astype(np.int64)
        read = LabelledImages(images, numbers, (), digest_of(grey, numbers))
        names = tuple(str(name) for name in data.target_names)
        return _assemble("embedded", "digits", names, [read], Cut(seed))


def load_task(
    text: str, *, seed: int, resolution: int | None = None, progress: Progress | None = None
) -> Task:
    """The task behind the text of ``--data``.

    Args:
        text: ``digits``, a folder of class folders, or a folder or file of parquet.
        seed: of the cut into train, validation and calibration.
        resolution: side of the images in pixels; None to let the images decide.
        progress: how to show it; None for stderr.

    Raises:
        InputError: nothing of the kind, or what is there cannot be used.
    """
    path = Path(text)
    if text == "digits":
        return Task.digits(32 if resolution is None else resolution, seed=seed)
    if path.suffix == ".parquet" or (path.is_dir() and any(path.glob("train-*.parquet"))):
        return Task.from_parquet(path, resolution=resolution, seed=seed, progress=progress)
    if text and path.is_dir():
        return Task.from_folder(path, resolution=resolution, seed=seed, progress=progress)
    raise InputError(
        "data is 'digits', a folder of class folders with images, a folder with train-*.parquet, "
        f"or a .parquet file; {text!r} is none of them"
    )


def _assemble(
    kind: str, name: str, labels: Sequence[str], read: list[LabelledImages], cut: Cut
) -> Task:
    """Cut what was read, training part first, into the four parts."""
    names, whole = tuple(labels), read[0]
    has_test = len(read) == 2
    check_classes(names, whole.labels, 3 if has_test else 4)
    parts = cut.parts(whole.labels, with_test=not has_test)
    train = _take(whole, parts.train)
    skipped = [line for part in read for line in part.skipped]
    return Task(
        name=name,
        labels=names,
        preprocessing=Preprocessing(whole.images.shape[1], *_statistics(train.images)),
        train=train,
        validation=_take(whole, parts.validation),
        calibration=_take(whole, parts.calibration),
        test=_own_test(names, read[1]) if has_test else _take(whole, parts.test),
        n_skipped=len(skipped),
        skipped=tuple(skipped[:N_NAMED]),
        source={
            "kind": kind,
            "name": name,
            "sha256": "+".join(part.digest for part in read),
            "seed": cut.seed,
        },
    )


def _take(read: LabelledImages, indices: NDArray[np.int64]) -> Split:
    return Split(read.images[indices], read.labels[indices])


def _own_test(names: tuple[str, ...], read: LabelledImages) -> Split:
    if not len(read.labels) or int(read.labels.max()) >= len(names):
        raise InputError(
            f"the test part needs images of the {len(names)} training classes, it has "
            f"{len(read.labels)} images and labels up to {read.labels.max(initial=-1)}"
        )
    return Split(read.images, read.labels)


def _statistics(images: NDArray[np.uint8]) -> tuple[Triple, Triple]:
    """Mean and standard deviation per channel in 0..1; a constant channel gets std 1."""
    counts = np.zeros((3, 256), dtype=np.int64)
    for start in range(0, len(images), _CHUNK):
        chunk = images[start : start + _CHUNK]
        for channel in range(3):
            counts[channel] += np.bincount(chunk[..., channel].ravel(), minlength=256)
    shares = counts / counts.sum(axis=1, keepdims=True)
    values = np.arange(256) / 255
    mean = shares @ values
    std = np.sqrt((shares * (values - mean[:, None]) ** 2).sum(axis=1))
    std[std < 1e-6] = 1.0
    return _triple(mean.tolist()), _triple(std.tolist())


def _triple(values: object) -> Triple:
    if (
        not isinstance(values, list | tuple)
        or len(values) != 3
        or not all(map(_is_number, values))
    ):
        raise InputError(f"mean and std are three numbers each, got {values!r}")
    red, green, blue = values
    return float(red), float(green), float(blue)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _numbered(read: list[LabelledImages]) -> tuple[str, ...]:
    highest = max(int(part.labels.max(initial=0)) for part in read)
    return tuple(str(number) for number in range(highest + 1))
