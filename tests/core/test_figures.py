from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.figures import Conditions, Measured, MeasuredAccuracy, Predicted


def _measured() -> Measured:
    conditions = Conditions(
        provider="CPUExecutionProvider",
        n_threads=1,
        n_warmup=5,
        n_runs=100,
        n_blocks=4,
        n_blocks_marked=0,
        load_1min=0.1,
        steal_share=math.nan,
        reference_ratio=1.02,
        measured_at="2030-01-01T00:00:00Z",
    )
    return Measured(0.9e-3, 1e-3, 1.2e-3, 2e-3, (0.98e-3, 1.02e-3), conditions)


@pytest.mark.parametrize(("name", "value"), [("p50", 1e-3), ("p90", 1.2e-3), ("p99", 2e-3)])
def test_a_limit_finds_its_quantile(name: str, value: float) -> None:
    assert _measured().quantile_s(name) == value


def test_a_prediction_cannot_stand_in_for_a_measurement() -> None:
    predicted = Predicted(1e-3, (0.9e-3, 1.1e-3))
    assert not isinstance(predicted, Measured)
    assert not hasattr(predicted, "quantile_s")


def test_the_interval_is_wilsons() -> None:
    # 8 of 10 at z = 1.96: (0.8 + 1.96^2/20 -+ 1.96 sqrt(0.016 + 1.96^2/400)) / (1 + 1.96^2/10)
    low, high = MeasuredAccuracy(8, 10, "test").interval
    assert low == pytest.approx(0.4902, abs=1e-4)
    assert high == pytest.approx(0.9433, abs=1e-4)


@given(st.integers(1, 10**6).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_holds_the_share_and_stays_in_0_to_1(counts: tuple[int, int]) -> None:
    accuracy = MeasuredAccuracy(*counts, "validation")
    low, high = accuracy.interval
    assert -1e-12 <= low <= accuracy.top1 + 1e-12
    assert accuracy.top1 - 1e-12 <= high <= 1 + 1e-12
