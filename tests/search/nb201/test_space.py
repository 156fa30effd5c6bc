"""Cells as vectors of genes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from edgekit.core.candidate import Candidate
from edgekit.core.errors import InputError
from edgekit.search.nb201.network import Cell
from edgekit.search.nb201.space import OPERATIONS, NB201Space
from edgekit.search.protocol.pool import enumerated

SPACE = NB201Space()
NONE, SKIP, CONV1, CONV3, POOL = range(5)


def test_the_text_of_the_benchmark_reads_back() -> None:
    candidate = Candidate((POOL, CONV1, SKIP, CONV1, SKIP, NONE))
    text = (
        "|avg_pool_3x3~0|+|nor_conv_1x1~0|skip_connect~1|+|nor_conv_1x1~0|skip_connect~1|none~2|"
    )
    assert SPACE.text(candidate) == text
    for genes in SPACE.sample(20, np.random.default_rng(0)).tolist():
        assert SPACE.parse(SPACE.text(Candidate(tuple(genes)))).genes == tuple(genes)
    assert set(SPACE.words(candidate).values()) <= set(OPERATIONS)


@pytest.mark.parametrize(
    "text", ["", "|none~0|", "|nor_conv_5x5~0|+|none~0|none~1|+|a~0|b~1|c~2|"]
)
def test_what_is_no_cell_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="a cell is written like"):
        SPACE.parse(text)


def test_all_cells_are_listed() -> None:
    genes = np.concatenate(list(enumerated(SPACE)))
    assert genes.shape == (15_625, 6)
    assert len(np.unique(genes, axis=0)) == len(genes)


def test_path_features_count_what_works() -> None:
    nothing, chain, twice = (
        SPACE.features(np.array([genes]))[0]
        for genes in (
            (CONV3, NONE, NONE, NONE, NONE, CONV3),
            (CONV3, NONE, CONV1, NONE, NONE, POOL),
            (SKIP, CONV3, CONV3, NONE, NONE, CONV1),
        )
    )
    assert nothing.sum() == 0
    assert chain.sum() == 1
    assert sorted(twice[twice > 0]) == [2]


def test_sizes_are_those_of_what_works() -> None:
    genes = np.concatenate(list(enumerated(SPACE)))
    sizes = SPACE.ordered_features(genes)
    np.testing.assert_allclose(sizes.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(sizes.std(axis=0), 1)
    nothing, dead, one, two = SPACE.ordered_features(
        np.array(
            [
                (NONE, NONE, NONE, NONE, NONE, NONE),
                (CONV3, NONE, NONE, NONE, NONE, CONV3),
                (CONV3, NONE, NONE, NONE, SKIP, CONV3),
                (CONV3, NONE, NONE, NONE, CONV3, CONV3),
            ]
        )
    )
    np.testing.assert_array_equal(nothing, dead)
    conv1, conv3, pool, skip, most, mean, paths = (two > one).tolist()
    assert [conv3, most, mean] == [True] * 3
    assert not any([conv1, pool, skip, paths])


def test_cells_of_equal_path_features_compute_the_same() -> None:
    """Without weights, that is: pooling and skips in another order."""
    genes = np.concatenate(list(enumerated(SPACE)))
    weightless = genes[np.isin(genes, [NONE, SKIP, POOL]).all(axis=1)]
    features = SPACE.features(weightless)
    x = torch.rand(2, 8, 6, 6, generator=torch.Generator().manual_seed(0))
    by_features: dict[bytes, torch.Tensor] = {}
    for row, key in zip(weightless.tolist(), map(np.ndarray.tobytes, features), strict=True):
        answer = Cell(Candidate(tuple(row)), 8)(x)
        torch.testing.assert_close(answer, by_features.setdefault(key, answer))
    assert 10 < len(by_features) < len(weightless)
