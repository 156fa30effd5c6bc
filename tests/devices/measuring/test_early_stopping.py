"""Early stopping: MLPerf's own figures, and what the rule promises."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.errors import InputError
from edgekit.devices.measuring.early_stopping import bounded_quantile_s, min_runs, n_over_allowed


@pytest.mark.parametrize(
    ("quantile", "n_over", "n_runs"),
    [
        # LoadGen's floors: one run may be slower (single-stream p90, multi-stream p99).
        (0.90, 1, 64),
        (0.99, 1, 662),
        # LoadGen's reference value for no slower run: ln(0.01) / ln(0.99), rounded up.
        (0.99, 0, 459),
        (0.90, 0, 44),
    ],
)
def test_published_minimum_numbers_of_runs(quantile: float, n_over: int, n_runs: int) -> None:
    assert min_runs(n_over, quantile) == n_runs


@pytest.mark.parametrize(
    ("quantile", "n_table", "margin"),
    [(0.90, 23_886, 0.005), (0.95, 50_425, 0.0025), (0.99, 262_742, 0.0005)],
)
def test_the_fixed_run_counts_of_the_rules_allow_about_their_margin(
    quantile: float, n_table: int, margin: float
) -> None:
    """The old table asks for a 99 % interval of the share of slow runs, half a margin each way.

    One-sided at the same confidence, the share that may be slower is short of 1 - quantile by
    2.326 / 2.576 of the margin.
    """
    share = n_over_allowed(n_table, quantile) / n_table
    assert (1 - quantile) - share == pytest.approx(margin * 2.3263 / 2.5758, rel=0.03)


@given(st.integers(0, 300), st.floats(0.5, 0.995), st.floats(0.5, 0.999))
def test_the_two_directions_agree(n_over: int, quantile: float, confidence: float) -> None:
    n_runs = min_runs(n_over, quantile, confidence)
    assert n_over_allowed(n_runs, quantile, confidence) >= n_over
    assert n_over_allowed(n_runs - 1, quantile, confidence) < n_over


@given(st.integers(0, 100), st.floats(0.5, 0.99))
def test_it_is_the_binomial_tail(n_over: int, quantile: float) -> None:
    def tail(n_runs: int) -> float:
        terms = [
            math.comb(n_runs, k) * (1 - quantile) ** k * quantile ** (n_runs - k)
            for k in range(n_over + 1)
        ]
        return math.fsum(terms)

    n_runs = min_runs(n_over, quantile)
    assert tail(n_runs) <= 0.01 * (1 + 1e-9)
    assert n_runs == n_over + 1 or tail(n_runs - 1) > 0.01 * (1 - 1e-9)


def test_the_answer_is_an_order_statistic_from_the_first_sufficient_run_on() -> None:
    durations_s = np.random.default_rng(0).permutation(np.arange(1.0, 65.0))
    assert bounded_quantile_s(durations_s, 0.9) == 64
    assert math.isnan(bounded_quantile_s(durations_s[:63], 0.9))
    assert math.isnan(bounded_quantile_s(np.array([]), 0.9))
    n_over = n_over_allowed(1000, 0.9)
    assert bounded_quantile_s(np.arange(1.0, 1001.0), 0.9) == 1001 - n_over
    assert 900 < 1001 - n_over < 930


@pytest.mark.parametrize("quantile", [0.9, 0.99])
def test_the_true_quantile_is_exceeded_as_often_as_promised(quantile: float) -> None:
    rng, n_cases = np.random.default_rng(1), 3000
    n_runs = min_runs(3, quantile)
    true_s = -math.log(1 - quantile)
    bounds = [
        bounded_quantile_s(rng.exponential(1.0, n_runs), quantile, 0.9) for _ in range(n_cases)
    ]
    low = float(np.mean(np.array(bounds) < true_s))
    print(f"p{100 * quantile:g} of {n_runs} runs: bound below the truth in {low:.1%} of cases")
    assert low < 0.1 + 3 * math.sqrt(0.09 / n_cases)


@pytest.mark.parametrize(
    ("n", "quantile", "confidence"), [(-1, 0.9, 0.9), (1, 1.0, 0.9), (1, 0.9, 0)]
)
def test_values_out_of_range_are_refused(n: int, quantile: float, confidence: float) -> None:
    for ask in (min_runs, n_over_allowed):
        with pytest.raises(InputError, match="early stopping takes"):
            ask(n, quantile, confidence)
