"""What binds when nothing is inside, against a look at every network."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.limits import Limits
from edgekit.search.mbconv.space import MBConvRecipe, Stage
from edgekit.search.protocol.feasibility import nearest, unreachable
from edgekit.search.protocol.pool import enumerated
from tests.search.synthetic import formula_problem

SMALL = MBConvRecipe(32, 10, 16, 2, 16, (Stage(32, 2, 2),), 64)
Margin = st.sampled_from([-1.0, -0.25, 0.0, 0.25, 1.0])


@given(st.lists(st.tuples(Margin, Margin), min_size=1, max_size=12))
def test_the_binding_limit_is_one_that_cannot_be_kept(rows: list[tuple[float, float]]) -> None:
    found = nearest(np.array(rows))
    if any(a <= 0 and b <= 0 for a, b in rows):
        assert found is None
        return
    assert found is not None
    excess = [max(a, 0) + max(b, 0) for a, b in rows]
    assert excess[found.row] == min(excess)
    alone = [min(column) <= 0 for column in zip(*rows, strict=True)]
    if all(alone):
        assert rows[found.row][found.binding] > 0
    else:
        assert not alone[found.binding]


@pytest.mark.parametrize("latency_s", [None, 2e-5, 4.5e-5, 6e-5, 1.0])
@pytest.mark.parametrize("size_bytes", [None, 1_000, 15_000, 25_000, 10**9])
def test_it_is_exact_where_every_network_can_be_listed(
    latency_s: float | None, size_bytes: int | None
) -> None:
    limits = Limits(latency_s, size_bytes)
    problem = formula_problem(limits=limits, recipe=SMALL)
    genes = np.concatenate(list(enumerated(problem.space)))
    assert len(genes) == problem.space.n_candidates  # type: ignore[attr-defined]
    values = problem.costs(genes)[:, 1:]
    inside = [row for row in values.tolist() if not limits.broken_by(*row, None)]
    found = unreachable(problem)
    assert (found is None) == bool(inside)
    if found is None:
        return
    walls = np.array([latency_s or np.inf, size_bytes or np.inf])
    excess = (values / walls - 1).clip(min=0).sum(axis=1)
    np.testing.assert_allclose(
        (np.array(found.values[1:]) / walls - 1).clip(min=0).sum(), excess.min()
    )
    kept_alone = (values.min(axis=0) <= walls).tolist()
    index = ("latency_s", "size_bytes").index(found.objective)
    assert found.n_networks == len(genes)
    assert not kept_alone[index] or all(kept_alone)


def test_a_space_too_large_to_list_says_nothing() -> None:
    recipe = MBConvRecipe.for_task(224, 10)
    assert unreachable(formula_problem(limits=Limits(1e-9), recipe=recipe)) is None
