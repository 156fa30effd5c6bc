from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.errors import InputError
from edgekit.core.images.cut import Cut, Parts, check_classes


def _labels(counts: list[int]) -> np.ndarray:
    labels = np.repeat(np.arange(len(counts)), counts)
    return np.random.default_rng(0).permutation(labels)


def _all(parts: Parts) -> list[np.ndarray]:
    return [parts.train, parts.validation, parts.calibration, parts.test]


@given(
    counts=st.lists(st.integers(4, 60), min_size=2, max_size=6),
    seed=st.integers(0, 5),
    share=st.floats(0.01, 0.5),
    n_calibration=st.integers(1, 300),
    with_test=st.booleans(),
)
def test_the_parts_hold_every_image_once_and_every_class(
    counts: list[int], seed: int, share: float, n_calibration: int, with_test: bool
) -> None:
    labels = _labels(counts)
    parts = Cut(seed, share, n_calibration, share).parts(labels, with_test=with_test)
    assert sorted(np.concatenate(_all(parts))) == list(range(len(labels)))
    assert len(parts.calibration) >= 1
    needing = [parts.train, parts.validation] + [parts.test] * with_test
    assert all(set(labels[part]) == set(range(len(counts))) for part in needing)
    assert with_test or not len(parts.test)


def test_shares_and_numbers_are_kept_class_by_class() -> None:
    labels = _labels([100, 200])
    parts = Cut(0, 0.1, 30, 0.2).parts(labels, with_test=True)
    found = [np.bincount(labels[part]).tolist() for part in _all(parts)]
    # 300: test 20 and 40; of 80 and 160 validation 8 and 16; of 72 and 144 calibration 10 and 20
    assert found == [[62, 124], [8, 16], [10, 20], [20, 40]]


def test_the_seed_decides_all_parts_but_the_test_part() -> None:
    labels = _labels([50, 50])
    first, again, other = (Cut(seed).parts(labels, with_test=True) for seed in (1, 1, 2))
    assert all(map(np.array_equal, _all(first), _all(again)))
    assert np.array_equal(first.test, other.test)
    assert not np.array_equal(first.validation, other.validation)


@pytest.mark.parametrize(
    ("cut", "named"),
    [
        ((-1, 0.1, 256, 0.2), "seed"),
        ((0, 0.0, 256, 0.2), "validation share"),
        ((0, 0.1, 0, 0.2), "calibration"),
        ((0, 0.1, 256, 0.9), "test share"),
        ((0, float("nan"), 256, 0.9), "validation share"),
    ],
)
def test_values_out_of_range_are_refused(cut: tuple[int, float, int, float], named: str) -> None:
    with pytest.raises(InputError, match=named):
        Cut(*cut)


@pytest.mark.parametrize(
    ("names", "labels", "named"),
    [
        (("a",), [0] * 9, "two classes"),
        (("a", "b"), [0, 0, 0, 0, 1], "'b' has 1"),
        (("a", "b", "c"), [0, 0, 0, 1, 1, 1], "'c' has 0"),
        (("a", "b"), [0, 0, 0, 1, 1, 1, 2], "label 2"),
    ],
)
def test_classes_that_cannot_be_cut_are_refused(
    names: tuple[str, ...], labels: list[int], named: str
) -> None:
    with pytest.raises(InputError, match=named):
        check_classes(names, np.asarray(labels), 3)
