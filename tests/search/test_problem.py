"""What strategies are given and give back."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.candidate import Candidate
from edgekit.core.limits import Limits
from edgekit.search.problem import fresh, front
from tests.search.synthetic import evaluated, formula_evaluator, formula_problem

Figures = st.lists(
    st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=20
)


@given(Figures)
def test_the_front_is_what_nothing_beats(figures: list[tuple[int, int, int]]) -> None:
    entries = [
        evaluated(Candidate((index,)), top1 / 10, latency / 100, size)
        for index, (top1, latency, size) in enumerate(figures)
    ]
    kept = front(entries)

    def beats(a: tuple[int, int, int], b: tuple[int, int, int]) -> bool:
        return a != b and a[0] >= b[0] and a[1] <= b[1] and a[2] <= b[2]

    expected = {i for i, mine in enumerate(figures) if not any(beats(f, mine) for f in figures)}
    assert {entry.candidate.genes[0] for entry in kept} == expected
    latencies = [entry.latency.p50_s for entry in kept]
    assert latencies == sorted(latencies)


def test_fresh_candidates_are_distinct_new_and_in_order() -> None:
    genes = np.array([[0, 1], [2, 3], [0, 1], [4, 5], [6, 7]])
    history = [evaluated(Candidate((2, 3)), 0.5, 1.0, 1)]
    expected = [Candidate((0, 1)), Candidate((4, 5)), Candidate((6, 7))]
    assert fresh(genes, history, 9) == expected
    assert fresh(genes, history, 2) == expected[:2]
    assert fresh(genes, history, 0) == fresh(genes, history, -1) == []
    assert all(type(gene) is int for gene in fresh(genes, [], 1)[0].genes)


def test_margins_are_relative_to_each_limit() -> None:
    problem = formula_problem(limits=Limits(2e-4, 300_000))
    genes = problem.space.sample(50, np.random.default_rng(0))
    latency = problem.table.latencies_s(genes)
    size = problem.table.sizes_bytes(genes)
    margins = problem.margins(genes)
    np.testing.assert_allclose(margins[:, 0], (latency - 2e-4) / 2e-4)
    np.testing.assert_allclose(margins[:, 1], (size - 3e5) / 3e5)
    assert (formula_problem().margins(genes) == -1).all()


def test_limits_are_on_the_measured_figures() -> None:
    problem = formula_problem()
    entry = formula_evaluator(problem)(problem.space.largest())
    assert entry.meets(Limits())
    assert entry.meets(Limits(entry.latency.p50_s, entry.size_bytes))
    assert not entry.meets(Limits(entry.latency.p50_s * 0.999))
    assert not entry.meets(Limits(None, entry.size_bytes - 1))


def test_randomness_depends_on_the_seed_and_on_what_is_done() -> None:
    first, second = formula_problem(seed=1), formula_problem(seed=2)
    assert first.rng(10).random() == first.rng(10).random()
    assert first.rng(10).random() != first.rng(20).random()
    assert first.rng(10).random() != second.rng(10).random()
