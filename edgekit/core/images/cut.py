"""Cutting labelled images into parts that do not overlap, class by class and from a seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgekit.core.errors import InputError

Indices = NDArray[np.int64]

# The test part must not follow the user's seed: see ``Cut.parts``.
_TEST_SEED = 20240229


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """Sorted indices of the images of each part.

    Attributes:
        train: int64, (n_train,).
        validation: int64, (n_validation,).
        calibration: int64, (n_calibration,).
        test: int64, (n_test,); empty where the data set brings its own test part.
    """

    train: Indices
    validation: Indices
    calibration: Indices
    test: Indices


@dataclass(frozen=True, slots=True)
class Cut:
    """How a data set is cut.

    Attributes:
        seed: of validation and calibration, 0 or more.
        validation_share: of each class, above 0 and up to 0.5; at least one image.
        n_calibration: images, 1 or more; at most a fifth of what is left after validation.
        test_share: of each class, above 0 and up to 0.5; at least one image.

    Raises:
        InputError: a value out of range.
    """

    seed: int
    validation_share: float = 0.1
    n_calibration: int = 256
    test_share: float = 0.2

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise InputError(f"a seed is a whole number from 0, got {self.seed}")
        for name, share in (("validation", self.validation_share), ("test", self.test_share)):
            if not 0 < share <= 0.5:
                raise InputError(f"the {name} share is above 0 and up to 0.5, got {share}")
        if self.n_calibration < 1:
            raise InputError(f"one calibration image or more is needed, got {self.n_calibration}")

    def parts(self, labels: Indices, *, with_test: bool) -> Parts:
        """Cut the images with these class indices.

        The test part depends on the labels alone, not on the seed: a network trained with one seed
        may be judged by a task made with another, and has then still not seen the test images.

        Args:
            labels: int64, (n,); every class has at least three images, four with a test part.
            with_test: whether to cut off a test part.
        """
        test, rest = np.empty(0, dtype=np.int64), np.arange(len(labels))
        if with_test:
            test, rest = _cut_share(rest, labels, self.test_share, _TEST_SEED)
        validation, rest = _cut_share(rest, labels, self.validation_share, self.seed)
        calibration, train = _cut_number(rest, labels, self.n_calibration, self.seed)
        return Parts(train, validation, calibration, test)


def check_classes(names: tuple[str, ...], labels: Indices, n_needed: int) -> None:
    """Refuse data that cannot be cut so that every part that needs it has every class.

    Args:
        names: class names.
        labels: class indices, int64, (n,).
        n_needed: images that each class needs at least.

    Raises:
        InputError: one class only, a label without a name, or a class with too few images.
    """
    if len(names) < 2:
        raise InputError(f"at least two classes are needed, got {len(names)}")
    counts = np.bincount(labels, minlength=len(names))
    if len(counts) > len(names):
        highest = len(counts) - 1
        raise InputError(
            f"each label needs a class name, got label {highest} and {len(names)} names"
        )
    fewest = int(counts.argmin())
    if counts[fewest] < n_needed:
        raise InputError(
            f"a class needs at least {n_needed} readable images to be cut into parts, "
            f"{names[fewest]!r} has {counts[fewest]}; add images or remove the class"
        )


def _cut_share(
    indices: Indices, labels: Indices, share: float, seed: int
) -> tuple[Indices, Indices]:
    """Take a share, at least one image, out of every class; what was taken, and the rest."""
    groups = _shuffled_classes(indices, labels, seed)
    cut = np.concatenate([group[: max(1, round(share * len(group)))] for group in groups])
    return np.sort(cut), np.setdiff1d(indices, cut)


def _cut_number(
    indices: Indices, labels: Indices, n_wanted: int, seed: int
) -> tuple[Indices, Indices]:
    """Take a number of images with the classes in proportion; every class keeps one or more.

    The k-th of the m images of a class stands at (k + 1/2) / m; the lowest places are taken.
    """
    groups = _shuffled_classes(indices, labels, seed)
    n_cut = max(1, min(n_wanted, len(indices) // 5))
    places = [
        np.append((np.arange(len(group) - 1) + 0.5) / len(group), np.inf) for group in groups
    ]
    order = np.argsort(np.concatenate(places), kind="stable")
    cut = np.concatenate(groups)[order[:n_cut]]
    return np.sort(cut), np.setdiff1d(indices, cut)


def _shuffled_classes(indices: Indices, labels: Indices, seed: int) -> list[Indices]:
    """The indices of each class in a random order that depends on seed and class only."""
    return [
        np.random.default_rng([seed, int(label)]).permutation(indices[labels[indices] == label])
        for label in np.unique(labels[indices])
    ]
