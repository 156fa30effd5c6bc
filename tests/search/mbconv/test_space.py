"""Genes of the built-in space and what they mean."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.candidate import Candidate
from edgekit.core.errors import InputError
from edgekit.core.precision import Precision
from edgekit.search.mbconv.space import (
    OPERATIONS,
    SKIP,
    Architecture,
    MBConvRecipe,
    MBConvSpace,
    Stage,
)
from edgekit.search.space import PRECISIONS
from tests.search.synthetic import TINY

SPACE = MBConvSpace(TINY)
SMALL = MBConvSpace(replace(TINY, stages=(Stage(16, 2, 2),)))
GENES = st.tuples(*(st.integers(0, n - 1) for n in SPACE.n_choices))


def test_genes_counted_by_hand() -> None:
    # Two stages of two blocks: the first of each changes the shape, the second may be skipped.
    assert SPACE.n_choices == (6, 7, 6, 7, 2, 2, 2, 2, 2, 2)
    assert SPACE.gene_names[:5] == ("b00.op", "b01.op", "b02.op", "b03.op", "stem.precision")
    assert SPACE.gene_names[-1] == "head.precision"
    assert SPACE.n_candidates == 2 * 2 * (6 * 2) * (6 * 2 + 1) * (6 * 2) * (6 * 2 + 1)


def test_recipes_of_edgekit() -> None:
    small = MBConvSpace(MBConvRecipe.for_task(32, 10))
    assert [p.stride for p in small.positions] == [2, 1, 2, 1, 1, 2, 1]
    assert [p.may_skip for p in small.positions] == [False, True, False, True, True, False, True]
    large = MBConvSpace(MBConvRecipe.for_task(224, 1000))
    assert large.n_positions == 21
    assert 224 // large.recipe.stem_stride // np.prod([p.stride for p in large.positions]) == 7
    assert MBConvSpace(MBConvRecipe.quick(32, 10)).n_positions == 6


def test_every_network_of_a_small_space_is_counted_once() -> None:
    genes = np.array(list(itertools.product(*(range(n) for n in SMALL.n_choices))))
    distinct = np.unique(SMALL.canonical(genes), axis=0)
    assert len(distinct) == SMALL.n_candidates == 4 * 12 * 13
    assert len(np.unique(SMALL.features(distinct), axis=0)) == len(distinct)


@given(GENES)
def test_canonical_genes_mean_the_same_network(genes: tuple[int, ...]) -> None:
    before = np.array([genes])
    after = SPACE.canonical(before)
    assert before.tolist() == [list(genes)]
    assert (SPACE.canonical(after) == after).all()
    assert (SPACE.features(after) == SPACE.features(before)).all()
    same = SPACE.decode(Candidate(tuple(after[0].tolist())))
    assert _active(same) == _active(SPACE.decode(Candidate(genes)))


def _active(architecture: Architecture) -> tuple[object, ...]:
    return architecture.stem, tuple(architecture.active()), architecture.head


@given(GENES)
def test_decoding_and_encoding_give_the_genes_back(genes: tuple[int, ...]) -> None:
    architecture = SPACE.decode(Candidate(genes))
    operations = [
        SKIP if b.operation is None else OPERATIONS.index(b.operation) for b in architecture.blocks
    ]
    precisions = [
        architecture.stem,
        *(b.precision for b in architecture.blocks),
        architecture.head,
    ]
    assert (*operations, *map(PRECISIONS.index, precisions)) == genes


def test_a_skipped_block_has_no_precision() -> None:
    skipped = np.array([[0, SKIP, 0, 0, 1, 1, 1, 1, 1, 1]])
    assert SPACE.canonical(skipped).tolist() == [[0, SKIP, 0, 0, 1, 1, 0, 1, 1, 1]]
    columns = SPACE.features(skipped)
    assert columns.shape == (1, sum(SPACE.n_choices))
    assert columns.sum() == len(SPACE.n_choices) - 1
    names = [block.position.name for block in SPACE.decode(Candidate((*skipped[0],))).active()]
    assert names == ["b00", "b02", "b03"]


def test_ordered_features_are_sizes_and_their_sums() -> None:
    genes = np.array([[0, SKIP, 3, 5, 1, 1, 0, 0, 1, 0]])
    kernel, expansion, skipped = [3, 0, 5, 7], [3, 0, 6, 6], [0, 1, 0, 0]
    expected = [*kernel, *expansion, *skipped, 15, 15, 1, 3]
    assert SPACE.ordered_features(genes).tolist() == [expected]


def test_samples_are_canonical_reproducible_and_cover_every_choice() -> None:
    genes = SPACE.sample(2000, np.random.default_rng(0))
    assert (genes == SPACE.sample(2000, np.random.default_rng(0))).all()
    assert (genes == SPACE.canonical(genes)).all()
    for column, n in zip(genes.T, SPACE.n_choices, strict=True):
        assert set(column.tolist()) == set(range(n))


def test_largest_and_smallest() -> None:
    assert SPACE.largest().genes == (5, 5, 5, 5, 0, 0, 0, 0, 0, 0)
    assert SPACE.largest(Precision.INT8).genes == (5, 5, 5, 5, 1, 1, 1, 1, 1, 1)
    assert SPACE.smallest(Precision.INT8).genes == (0, 6, 0, 6, 1, 1, 0, 1, 0, 1)


@pytest.mark.parametrize("genes", [(), (0,) * 9, (0,) * 11, (6,) + (0,) * 9, (0, -1) + (0,) * 8])
def test_genes_out_of_range_are_refused(genes: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="genes"):
        SPACE.decode(Candidate(genes))


def test_a_recipe_comes_back_from_json() -> None:
    for recipe in (TINY, MBConvRecipe.for_task(224, 5)):
        assert MBConvRecipe.from_json(json.loads(json.dumps(recipe.to_json()))) == recipe


@pytest.mark.parametrize(
    "change",
    [
        {"resolution": 16},
        {"resolution": "32"},
        {"n_classes": 1},
        {"stem_width": 4},
        {"stem_stride": 3},
        {"stages": []},
        {"stages": [{"width": 4, "depth": 1, "stride": 1}]},
        {"stages": [{"width": 16, "depth": 0, "stride": 1}]},
        {"stages": [{"width": 16, "depth": 1, "stride": 4}]},
        {"stages": 3},
        {"unknown": 1},
    ],
)
def test_recipes_that_cannot_be_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(InputError):
        MBConvRecipe.from_json(TINY.to_json() | change)
