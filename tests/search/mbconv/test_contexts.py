"""Contexts of blocks, counted by hand and against a slow loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.candidate import Candidate
from edgekit.search.mbconv.contexts import (
    N_CONTEXTS,
    SKIPPED,
    context_codes,
    covering_candidates,
)
from edgekit.search.mbconv.space import SKIP, MBConvRecipe, MBConvSpace
from tests.search.synthetic import TINY

SPACE = MBConvSpace(TINY)
SMALL = MBConvSpace(MBConvRecipe.for_task(32, 10))


def _codes(space: MBConvSpace, *genes: int) -> list[int]:
    return context_codes(space, np.array([genes]))[:, 0].tolist()


def test_codes_by_hand() -> None:
    # All fp32: operation alone, and fp32 with an identity is told apart only by int8 blocks.
    assert _codes(SPACE, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0) == [0, 32, 64, 96, 128, 0]
    # All int8: before 8, own 4, after 1; nothing stands before the stem and after the head.
    assert _codes(SPACE, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1) == [5, 13, 13, 13, 13, 12]
    # b00 int8, b01 fp32 with an identity, then int8 or fp32.
    assert _codes(SPACE, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0)[1:3] == [4 + 3, 8 + 1]
    assert _codes(SPACE, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0)[1:3] == [4 + 2, 8]
    # b01 follows the other precision and has an identity: odd for the fp32 b02.
    assert _codes(SPACE, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0)[3] == 16
    # b01 skipped: the int8 b00 stands before b02, which has no identity.
    assert _codes(SPACE, 0, SKIP, 0, 0, 0, 1, 0, 0, 0, 0)[1] == 4
    assert _codes(SPACE, 0, SKIP, 0, 0, 0, 1, 0, 0, 0, 0)[3] == 8


def _looped(space: MBConvSpace, candidate: Candidate) -> list[int | None]:
    n, genes = space.n_positions, candidate.genes
    names: list[int | None] = [None] * (n + 2)
    active = [b for b in range(n + 2) if not (0 < b <= n and genes[b - 1] == SKIP)]

    def precision(place: int) -> int:
        return genes[n + active[place]] if 0 <= place < len(active) else 0

    def has_identity(place: int) -> bool:
        inside = 0 <= place < len(active) and 0 < active[place] <= n
        return inside and space.positions[active[place] - 1].may_skip

    for place, block in enumerate(active):
        before, own, after = (precision(place + step) for step in (-1, 0, 1))
        odd = before == own and has_identity(place - 1) and precision(place - 2) != own
        if own == 1 and after == 0 and has_identity(place + 1):
            after = 2 + precision(place + 2)
        operation = genes[block - 1] if 0 < block <= n else 0
        names[block] = 32 * operation + 16 * odd + 8 * before + 4 * own + after
    return names


@given(st.tuples(*(st.integers(0, n - 1) for n in SMALL.n_choices)))
def test_codes_are_those_of_a_slow_loop(genes: tuple[int, ...]) -> None:
    candidate = Candidate(genes)
    for code, expected in zip(_codes(SMALL, *genes), _looped(SMALL, candidate), strict=True):
        assert code == expected if expected is not None else code >= SKIPPED


def test_the_covering_candidates_are_always_the_same() -> None:
    assert covering_candidates(SPACE) == covering_candidates(SPACE)


def test_no_candidates_have_no_codes() -> None:
    assert context_codes(SPACE, np.empty((0, 10), np.int64)).shape == (6, 0)


@pytest.mark.parametrize("recipe", [TINY, SMALL.recipe])
def test_covering_candidates_hold_every_context_of_random_ones(recipe: MBConvRecipe) -> None:
    space = MBConvSpace(recipe)
    chosen = covering_candidates(space)
    for candidate in chosen:
        space.check(candidate)
    blocks = np.arange(space.n_positions + 2)[:, None]
    known = np.zeros((len(blocks), SKIPPED + N_CONTEXTS), dtype=bool)
    known[blocks, context_codes(space, np.array([c.genes for c in chosen]))] = True
    known[:, SKIPPED:] = True
    genes = space.sample(50_000, np.random.default_rng(8))
    assert known[blocks, context_codes(space, genes)].all()
    print(f"{len(chosen)} networks hold {int(known[:, :SKIPPED].sum())} contexts")
