"""A task: labelled images cut into four parts that do not overlap, and the preprocessing that goes with them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgekit.core.errors import InputError
from edgekit.core.images.datasets import Dataset, gather_dataset, sizes_of
from edgekit.core.images.decode import default_resolution, size_of, square_of_array
from edgekit.core.images.folder import list_folder
from edgekit.core.images.gather import (
    Encoded,
    LabelledImages,
    Unreadable,
    bytes_of,
    check_memory,
    gather,
)
from edgekit.core.images.parquet import find_parts, open_part
from edgekit.core.progress import Progress

DEFAULT_MAX_BYTES = 8 * 2**30
N_NAMED = 20
_N_LOOKED_AT = 256
_TEST_SEED = 20240229
_CHUNK = 1024

Source = Mapping[str, str | int]
Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How an image becomes the model's input: a square of RGB in 0..1, then ``(value - mean) / std`` per channel.

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
        if (
            len(self.mean) != 3
            or len(self.std) != 3
            or not all(map(math.isfinite, self.mean + self.std))
        ):
            raise InputError(
                f"mean and std are three finite numbers each, got {self.mean} and {self.std}"
            )
        if not min(self.std) > 0:
            raise InputError(f"each std must be above zero, got {self.std}")
        if self.layout != "NCHW":
            raise InputError(f"the layout must be 'NCHW', got {self.layout!r}")

    def apply(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """The model's input.

        Args:
            images: RGB, uint8, (n, height, width, 3); other sizes are cut to the centre square and scaled.

        Returns:
            float32, (n, 3, resolution, resolution), C-contiguous.
        """
        side = self.resolution
        if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
            raise InputError(
                f"images are uint8 (n, height, width, 3), got {images.dtype} {images.shape}"
            )
        if images.shape[1:3] != (side, side):
            images = np.stack([square_of_array(image, side) for image in images])
        scale = np.float32(1 / 255) / np.asarray(self.std, dtype=np.float32)
        shift = -np.asarray(self.mean, dtype=np.float32) / np.asarray(self.std, dtype=np.float32)
        out = np.empty((len(images), 3, side, side), dtype=np.float32)
        np.multiply(images.transpose(0, 3, 1, 2), scale[:, None, None], out=out)
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
        if (
            not isinstance(resolution, int)
            or isinstance(resolution, bool)
            or not isinstance(layout, str)
        ):
            raise InputError(
                f"preprocessing needs a whole resolution and a layout, got {resolution!r} and {layout!r}"
            )
        return cls(resolution, _triple(document.get("mean")), _triple(document.get("std")), layout)


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


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """Images to learn from and to be judged by.

    Validation and calibration are cut from the training data with the seed, class by class; the three do not
    overlap. The test part is the data set's own; where it has none, a part is cut off that does not depend on the
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
        """Read class folders of images, ``class/image.png``, or the same below ``train`` and ``test``.

        Args:
            path: the folder.
            resolution: side of the decoded squares; None for a multiple of 32 up to 224 that fits the images.
            seed: of the cut into train, validation and calibration.
            validation_share: share of the training part that becomes validation.
            n_calibration: calibration images, at most a fifth of the training part.
            test_share: share that becomes test where there is no test folder.
            max_bytes: bound on the decoded pixels.
            progress: how to show it; None for stderr.

        Raises:
            InputError: no such folder, a class or all of it empty, one class only, too many unreadable images,
                or more pixels than ``max_bytes``.
        """
        root, shown = Path(path), progress or Progress()
        listing = list_folder(root)
        parts = [listing.train] if listing.test is None else [listing.train, listing.test]
        side = resolution or _looked_up_resolution([item for part in parts for item in part])
        check_memory(sum(map(len, parts)), side, max_bytes)
        read = [gather(part, len(part), side, str(root), shown) for part in parts]
        cut = _Cut(seed, validation_share, n_calibration, test_share)
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
            path: a folder with ``train-*.parquet`` and, where there is a test part, ``test-*.parquet``; or a file.
            resolution: as in ``from_folder``.
            seed: as in ``from_folder``.
            validation_share: as in ``from_folder``.
            n_calibration: as in ``from_folder``.
            test_share: as in ``from_folder``.
            image_column: column of encoded images; None where only one fits or one is called ``image``.
            label_column: column of class indices; None where only one fits or one is called ``label``.
            max_bytes: as in ``from_folder``.
            progress: as in ``from_folder``.

        Raises:
            InputError: not such files, damaged, or as in ``from_folder``.
        """
        root, shown = Path(path), progress or Progress()
        files = [part for part in find_parts(root) if part]
        parts = [open_part(part, image_column, label_column) for part in files]
        first = [row for _, row in zip(range(_N_LOOKED_AT), parts[0].rows(), strict=False)]
        side = resolution or _looked_up_resolution(first)
        check_memory(sum(part.n_rows for part in parts), side, max_bytes)
        read = [gather(part.rows(), part.n_rows, side, str(root), shown) for part in parts]
        labels = parts[0].names or _numbered(read)
        cut = _Cut(seed, validation_share, n_calibration, test_share)
        return _assemble("parquet", root.resolve().stem, labels, read, cut)

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
            raise InputError(
                f"data sets must not be empty, got {len(train)} for training and {len(test)} for test"
            )
        shown = progress or Progress()
        side = resolution or default_resolution(sizes_of(train, _N_LOOKED_AT))
        check_memory(len(train) + len(test), side, max_bytes)
        read = [gather_dataset(data, side, name, shown) for data in (train, test)]
        names = tuple(labels or getattr(train, "classes", None) or _numbered(read))
        return _assemble(
            "datasets", name, names, read, _Cut(seed, validation_share, n_calibration, 0.0)
        )

    @classmethod
    def digits(cls, resolution: int = 32, *, seed: int = 0) -> Task:
        """The 1,797 handwritten digits that come with scikit-learn: 8x8 grey pixels, scaled up, in ten classes.

        Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI repository, 1998.
        """
        from sklearn.datasets import load_digits

        check_memory(1797, resolution, DEFAULT_MAX_BYTES)
        data = load_digits()
        grey = np.rint(data.images * (255 / 16)).astype(np.uint8)
        images = np.stack([square_of_array(image, resolution) for image in grey])
        numbers = data.target.astype(np.int64)
        read = LabelledImages(images, numbers, (), _digest_of(grey, numbers))
        names = tuple(str(name) for name in data.target_names)
        return _assemble("embedded", "digits", names, [read], _Cut(seed, 0.1, 256, 0.2))


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
    path = Path(text).expanduser()
    if text == "digits":
        return Task.digits(resolution or 32, seed=seed)
    if path.suffix == ".parquet" or (path.is_dir() and any(path.glob("train-*.parquet"))):
        return Task.from_parquet(path, resolution=resolution, seed=seed, progress=progress)
    if path.is_dir():
        return Task.from_folder(path, resolution=resolution, seed=seed, progress=progress)
    raise InputError(
        "data is 'digits', a folder of class folders with images, a folder with train-*.parquet, "
        f"or a .parquet file; {text!r} is none of them"
    )


@dataclass(frozen=True, slots=True)
class _Cut:
    """How a data set is cut into parts."""

    seed: int
    validation_share: float
    n_calibration: int
    test_share: float

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise InputError(f"a seed is a whole number from 0, got {self.seed}")
        if not 0 < self.validation_share <= 0.5 or not 0 <= self.test_share <= 0.5:
            raise InputError(
                f"shares for validation and test are above 0 and up to 0.5, got {self.validation_share} "
                f"and {self.test_share}"
            )
        if self.n_calibration < 1:
            raise InputError(f"at least one calibration image is needed, got {self.n_calibration}")


def _assemble(
    kind: str, name: str, labels: Sequence[str], read: list[LabelledImages], cut: _Cut
) -> Task:
    """Cut what was read into the four parts."""
    names = tuple(labels)
    whole = read[0]
    _check_classes(names, whole, 3 if len(read) == 2 else 4)
    rest, test_indices = np.arange(len(whole.labels)), None
    if len(read) == 1:
        test_indices, rest = _cut_classes(rest, whole.labels, cut.test_share, _TEST_SEED)
    validation, rest = _cut_classes(rest, whole.labels, cut.validation_share, cut.seed)
    calibration, train = _cut_evenly(rest, whole.labels, cut.n_calibration, cut.seed)
    test = (
        Split(read[1].images, read[1].labels)
        if test_indices is None
        else _take(whole, test_indices)
    )
    train_split = _take(whole, train)
    mean, std = _statistics(train_split.images)
    skipped = [name for part in read for name in part.skipped]
    digest = "+".join(part.digest for part in read)
    return Task(
        name=name,
        labels=names,
        preprocessing=Preprocessing(whole.images.shape[1], mean, std),
        train=train_split,
        validation=_take(whole, validation),
        calibration=_take(whole, calibration),
        test=test,
        n_skipped=len(skipped),
        skipped=tuple(skipped[:N_NAMED]),
        source={"kind": kind, "name": name, "sha256": digest, "seed": cut.seed},
    )


def _take(read: LabelledImages, indices: NDArray[np.int64]) -> Split:
    return Split(read.images[indices], read.labels[indices])


def _check_classes(names: tuple[str, ...], read: LabelledImages, n_needed: int) -> None:
    if len(names) < 2:
        raise InputError(f"at least two classes are needed, got {len(names)}")
    counts = np.bincount(read.labels, minlength=len(names))
    if len(counts) > len(names):
        raise InputError(
            f"there are {len(names)} class names, and a label {len(counts) - 1}; name every class"
        )
    fewest = int(counts.argmin())
    if counts[fewest] < n_needed:
        raise InputError(
            f"a class needs at least {n_needed} readable images to be cut into parts, "
            f"{names[fewest]!r} has {counts[fewest]}; add images or remove the class"
        )


def _cut_classes(
    indices: NDArray[np.int64], labels: NDArray[np.int64], share: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut a share, at least one image, out of every class; both results are sorted."""
    chosen = []
    for label in np.unique(labels[indices]):
        members = _shuffled(indices[labels[indices] == label], seed, int(label))
        chosen.append(members[: max(1, round(share * len(members)))])
    cut = np.sort(np.concatenate(chosen))
    return cut, np.setdiff1d(indices, cut)


def _cut_evenly(
    indices: NDArray[np.int64], labels: NDArray[np.int64], n_wanted: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Cut a number of images with the classes in proportion, at most a fifth; each class keeps at least one."""
    n_cut = max(1, min(n_wanted, len(indices) // 5))
    members = [
        _shuffled(indices[labels[indices] == label], seed, int(label))
        for label in np.unique(labels[indices])
    ]
    # the k-th of m images of a class stands at (k + 1/2) / m: taking the lowest n_cut keeps the proportions
    place = np.concatenate([(np.arange(len(group)) + 0.5) / len(group) for group in members])
    place[np.cumsum([len(group) for group in members]) - 1] = np.inf
    cut = np.sort(np.concatenate(members)[np.argsort(place, kind="stable")[:n_cut]])
    return cut, np.setdiff1d(indices, cut)


def _shuffled(members: NDArray[np.int64], seed: int, label: int) -> NDArray[np.int64]:
    return np.random.default_rng([seed, label]).permutation(members)


def _statistics(images: NDArray[np.uint8]) -> tuple[Triple, Triple]:
    """Mean and standard deviation of each channel in 0..1, from exact counts; a constant channel gets std 1."""
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


def _looked_up_resolution(items: Sequence[Encoded]) -> int:
    """Resolution from the headers of some images, evenly spread."""
    step = max(1, len(items) // _N_LOOKED_AT)
    sizes = []
    for item in items[::step]:
        try:
            sizes.append(size_of(bytes_of(item.data)))
        except Unreadable:  # named when it is decoded
            continue
    return default_resolution([size for size in sizes if size is not None])


def _digest_of(images: NDArray[np.uint8], labels: NDArray[np.int64]) -> str:
    import hashlib

    return hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
