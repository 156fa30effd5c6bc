"""Kernels as forms and sizes, sizes as formulas."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.kernel import Kernel
from edgekit.search.elastic.shapes import Formulas, put_together, taken_apart

CONV = Kernel(
    "Conv",
    "com.microsoft.nchwc",
    "float",
    ((1, 16, 8, 8),),
    ((32, 16, 3, 3), (32,)),
    ((1, 32, 8, 8),),
    (("activation", "Relu"), ("group", 4), ("pads", (1, 1, 1, 1))),
    "CPUExecutionProvider",
)


def test_a_kernel_comes_back_whole() -> None:
    form, sizes = taken_apart(CONV)
    assert put_together(form, sizes) == CONV
    assert sizes[-1] == 4


def test_kernels_of_other_widths_have_one_form() -> None:
    wider = Kernel(
        CONV.op,
        CONV.domain,
        CONV.dtype,
        ((1, 24, 8, 8),),
        ((48, 24, 3, 3), (48,)),
        ((1, 48, 8, 8),),
        (("activation", "Relu"), ("group", 8), ("pads", (1, 1, 1, 1))),
        CONV.provider,
    )
    assert taken_apart(wider)[0] == taken_apart(CONV)[0]


COUNTS = st.lists(st.integers(1, 12).map(lambda n: 8 * n), min_size=3, max_size=3)


def law(counts: list[int]) -> list[int]:
    """A constant, a count, a multiple, one rounded up to 16, and a multiple of one rounded up."""
    a, _, c = counts
    padded = [-(-n // 16) * 16 for n in counts]
    return [3, c, 9 * a, padded[1], 4 * padded[2]]


@given(st.lists(COUNTS, min_size=1, max_size=3))
def test_formulas_found_from_samples_hold_for_others(others: list[list[int]]) -> None:
    drawn = (8 * np.random.default_rng(0).integers(1, 13, (12, 3))).tolist()
    formulas = Formulas(drawn, [law(counts) for counts in drawn], 16)
    assert formulas.is_exact
    assert all(formulas.at(counts) == law(counts) for counts in others)


def test_a_sample_that_no_formula_gives_is_refused() -> None:
    formulas = Formulas([[8], [16], [24]], [[8], [16], [24]], 16)
    assert formulas.with_sample([32], [32]) is formulas
    assert formulas.with_sample([32], [7]) is None


def test_a_constant_becomes_a_multiple_when_a_sample_says_so() -> None:
    formulas = Formulas([[8, 16]], [[32]], 16)
    wider = formulas.with_sample([8, 24], [48])
    assert wider is not None
    assert wider.at([16, 40]) == [80]
