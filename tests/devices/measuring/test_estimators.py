"""Estimators against synthetic series whose truth is known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgekit.devices.measuring.estimators import (
    fast_state_s,
    low_quantile_s,
    p50_interval_s,
    paired_ratio,
    quantiles_s,
    relative_half_width,
    running_median,
    slowdown,
    trend,
    two_way_fit,
)

N_CASES = 200


def _blocks(generator: np.random.Generator, n_blocks: int = 14, spread: float = 0.03):
    """Log-normal runs of median 1 ms with a state of the machine per block."""
    states = generator.normal(0, spread, n_blocks)
    return [1e-3 * np.exp(state + generator.normal(0, 0.01, 25)) for state in states]


def test_low_quantile_is_the_fifth_smallest_share():
    assert low_quantile_s(np.arange(1.0, 12.0)) == pytest.approx(3.0)


def test_p50_interval_covers_the_truth_in_95_of_100_cases():
    generator = np.random.default_rng(0)
    covered = 0
    for case in range(N_CASES):
        low, high = p50_interval_s(_blocks(generator), seed=case)
        covered += low <= 1e-3 <= high
    assert 0.90 <= covered / N_CASES <= 0.98


def test_p50_interval_is_reproducible_and_contains_the_median():
    blocks = _blocks(np.random.default_rng(1))
    low, high = p50_interval_s(blocks, seed=3)
    assert (low, high) == p50_interval_s(blocks, seed=3)
    assert low <= np.median(np.concatenate(blocks)) <= high


def test_p50_interval_narrows_with_blocks():
    generator = np.random.default_rng(2)
    few, many = _blocks(generator, 8), _blocks(generator, 200)
    assert np.ptp(p50_interval_s(many, 0)) < np.ptp(p50_interval_s(few, 0)) / 2


def test_one_block_says_nothing():
    assert p50_interval_s([np.array([1e-3, 1.1e-3])], seed=0) == (0.0, math.inf)


def test_p99_is_unknown_below_100_runs():
    assert math.isnan(quantiles_s(np.linspace(1, 2, 99))[2])
    assert quantiles_s(np.linspace(1, 2, 101)) == pytest.approx((1.5, 1.9, 1.99))


def test_relative_half_width():
    assert relative_half_width(2.0, (1.9, 2.3)) == pytest.approx(0.1)


def _phased_session(generator: np.random.Generator, n_nets: int, n_passes: int):
    """Interleaved blocks on a machine that is up to 60 % slower in phases of about 20 blocks."""
    labels = np.log(generator.uniform(1e-4, 2e-3, n_nets))
    net = np.concatenate([generator.permutation(n_nets) for _ in range(n_passes)])
    phases = np.zeros(net.size)
    for start in generator.choice(net.size, n_passes // 2, replace=False):
        phases[start : start + 20] = np.log(generator.uniform(1.1, 1.6))
    values = labels[net] + phases + generator.normal(0, 0.01, net.size)
    return labels, net, phases, values


def test_two_way_fit_recovers_injected_slow_phases():
    generator = np.random.default_rng(4)
    labels, net, phases, values = _phased_session(generator, n_nets=40, n_passes=14)
    time = np.arange(net.size) * 0.035
    fit = two_way_fit(net, time, values, window=3)
    plain = np.array([np.median(values[net == index]) for index in range(40)])
    assert (phases > 0).mean() > 0.1
    assert np.abs(fit.label - labels).mean() < 0.007
    assert np.abs(fit.label - labels).mean() < np.abs(plain - labels).mean()
    assert np.corrcoef(fit.state, phases)[0, 1] > 0.95
    assert np.allclose(fit.label[net] + fit.state + fit.residual, values)


def test_two_way_fit_does_not_depend_on_the_order_of_its_rows():
    labels, net, _, values = _phased_session(np.random.default_rng(5), n_nets=10, n_passes=10)
    time = np.arange(net.size) * 0.035
    shuffled = np.random.default_rng(6).permutation(net.size)
    fit = two_way_fit(net, time, values, window=3)
    again = two_way_fit(net[shuffled], time[shuffled], values[shuffled], window=3)
    assert np.allclose(fit.label, again.label)
    assert np.allclose(fit.state[shuffled], again.state)
    assert labels.shape == fit.label.shape


def test_two_way_fit_of_a_single_net_is_its_median():
    values = np.log(np.array([1.0, 1.1, 1.2, 1.15, 1.05]))
    fit = two_way_fit(np.zeros(5, dtype=np.int64), np.arange(5.0), values, window=0)
    assert fit.label == pytest.approx([np.median(values)])


def test_running_median_uses_fewer_neighbours_at_the_ends():
    assert running_median(np.array([1.0, 9.0, 2.0, 3.0]), 1).tolist() == [5.0, 2.0, 3.0, 2.5]


def test_paired_ratio_cancels_what_both_felt_and_covers_the_truth():
    generator = np.random.default_rng(7)
    covered = 0
    for case in range(N_CASES):
        state = np.exp(generator.uniform(0, 0.6, 30))
        a = 1.2e-3 * state * np.exp(generator.normal(0, 0.02, 30))
        b = 1.0e-3 * state * np.exp(generator.normal(0, 0.02, 30))
        found = paired_ratio(a, b, seed=case)
        assert found.differs
        assert found.n_pairs == 30
        covered += found.interval[0] <= 1.2 <= found.interval[1]
    assert 0.90 <= covered / N_CASES <= 0.985


def test_equal_times_do_not_differ():
    times = np.linspace(1e-3, 2e-3, 20)
    assert not paired_ratio(times, times, seed=0).differs


def test_slowdown_is_relative_to_the_fast_state_of_each_kernel():
    reference = np.tile([1e-4, 5e-5], (10, 1))
    reference[8:] *= 1.5
    slow = slowdown(reference)
    assert slow[:8] == pytest.approx(np.ones(8))
    assert slow[8:] == pytest.approx([1.5, 1.5])


def test_a_session_that_is_slow_all_the_time_is_seen_beside_a_known_fast_state():
    reference = np.tile([1e-4, 5e-5], (10, 1))
    assert slowdown(reference, (0.8e-4, 4e-5)) == pytest.approx(np.full(10, 1.25))
    assert slowdown(reference, (2e-4, 1e-4)) == pytest.approx(np.ones(10))
    assert fast_state_s(reference) == pytest.approx([1e-4, 5e-5])


def test_trend_compares_last_and_first_third():
    assert trend(np.array([1.0, 1.0, 1.0, 1.1, 1.1, 1.1, 1.3, 1.3, 1.3])) == pytest.approx(1.3)
