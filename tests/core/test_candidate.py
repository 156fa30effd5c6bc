from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.candidate import Candidate
from edgekit.core.errors import InputError


@given(st.lists(st.integers(0, 999_999_999), min_size=1, max_size=40))
def test_a_candidate_comes_back_from_its_text(genes: list[int]) -> None:
    candidate = Candidate(tuple(genes))
    assert Candidate.parse(candidate.text) == candidate


@pytest.mark.parametrize("text", ["", "1-", "-1", "1--2", "1_0", "a", " 1", "1\n", "\u0661"])
def test_other_text_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="joined by dashes"):
        Candidate.parse(text)


def test_equal_genes_are_one_candidate() -> None:
    assert len({Candidate((1, 2)), Candidate((1, 2)), Candidate((2, 1))}) == 2
