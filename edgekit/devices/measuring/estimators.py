"""From raw run times to labels and intervals. Pure numpy; no clock is read here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

LOW_QUANTILE = 0.2
STATE_WINDOW = 10
MIN_RUNS_P99 = 100
_N_RESAMPLES = 400
_Z_95 = 1.959964
_N_BINS = 1024


def low_quantile_s(durations_s: FloatArray) -> float:
    """The 20 % quantile of a block's run times: what a run costs when little disturbs it."""
    return float(np.quantile(durations_s, LOW_QUANTILE))


@dataclass(frozen=True, slots=True)
class TwoWayFit:
    """Result of ``two_way_fit``; all values are natural logarithms.

    Attributes:
        label: (n_nets,) log time of each net in the machine's fast state; nan for a net without a
            block.
        state: (n_blocks,) slow-down of the machine during each block, in the order the blocks were
            given.
        residual: (n_blocks,) what neither explains.
    """

    label: FloatArray
    state: FloatArray
    residual: FloatArray


def two_way_fit(
    net_index: IntArray,
    slot_time: FloatArray,
    log_t: FloatArray,
    window: int,
    n_iterations: int = 30,
) -> TwoWayFit:
    """Split log block times into a label per net and a state of the machine per block.

    Model: ``log_t = label[net] + state(slot) + residual``. Alternates the median of
    ``log_t - state`` over a net's blocks with a running median of ``log_t - label`` over the
    ``2 * window + 1`` neighbouring blocks in time (median polish, Tukey 1977, with a smooth column
    effect). The median state is zero, so labels are those of the session's usual state: leave
    marked blocks out, and that is the machine's fast one.

    Args:
        net_index: (n_blocks,) which net each block ran, from 0.
        slot_time: (n_blocks,) when, in seconds; only the order matters.
        log_t: (n_blocks,) log of the block's low quantile.
        window: neighbouring blocks on either side that share a state, at least 0.
        n_iterations: rounds of alternation.
    """
    order = np.argsort(slot_time, kind="stable")
    net, values = net_index[order], log_t[order]
    n_nets = int(net.max()) + 1
    state = np.zeros_like(values)
    for _ in range(n_iterations):
        label = _median_per_group(values - state, net, n_nets)
        state = running_median(values - label[net], window)
        state -= np.median(state)
    label = _median_per_group(values - state, net, n_nets)
    back = np.empty_like(order)
    back[order] = np.arange(order.size)
    return TwoWayFit(label, state[back], (values - label[net] - state)[back])


def running_median(values: FloatArray, window: int) -> FloatArray:
    """Median over up to ``2 * window + 1`` neighbours of each value; fewer at the ends."""
    padded = np.pad(values, window, constant_values=np.nan)
    views = np.lib.stride_tricks.sliding_window_view(padded, 2 * window + 1)
    return np.asarray(np.nanmedian(views, axis=1), dtype=np.float64)


def _median_per_group(values: FloatArray, group: IntArray, n_groups: int) -> FloatArray:
    medians = np.full(n_groups, np.nan)
    for index in np.unique(group):
        medians[index] = np.median(values[group == index])
    return medians


def quantiles_s(durations_s: FloatArray) -> tuple[float, float, float]:
    """p50, p90 and p99; p99 is nan below 100 runs, where it would be the maximum renamed."""
    p50, p90, p99 = np.quantile(durations_s, (0.5, 0.9, 0.99))
    return float(p50), float(p90), float(p99) if durations_s.size >= MIN_RUNS_P99 else float("nan")


def p50_interval_s(
    blocks: Sequence[FloatArray], seed: int, n_resamples: int = _N_RESAMPLES
) -> tuple[float, float]:
    """95 % interval of the median over all runs, in seconds.

    Runs of one block share the machine's state, so whole blocks are resampled (cluster bootstrap;
    Davison and Hinkley 1997, section 3.8). The interval is widened about its centre by Student's t
    for few blocks, which the plain percentile interval neglects.

    Args:
        blocks: run times per block, each (n_runs,), in seconds; with fewer than 2 blocks the
            interval is (0, inf).
        seed: of the resampling.
        n_resamples: bootstrap samples.
    """
    if len(blocks) < 2:
        return 0.0, float("inf")
    runs = np.concatenate(blocks)
    medians = _resampled_medians(blocks, runs, seed, n_resamples)
    low_s, high_s = _widened(medians, float(np.median(runs)), len(blocks))
    return max(0.0, low_s), high_s


def _resampled_medians(
    blocks: Sequence[FloatArray], runs: FloatArray, seed: int, n_resamples: int
) -> FloatArray:
    """Medians with blocks drawn with replacement, exact to one of 1024 bins of equal mass."""
    n_bins = min(_N_BINS, runs.size)
    ordered = np.sort(runs)
    edges = ordered[np.arange(1, n_bins) * runs.size // n_bins]
    centres = ordered[((np.arange(n_bins) + 0.5) * runs.size / n_bins).astype(np.int64)]
    masses = np.stack(
        [
            np.bincount(np.searchsorted(edges, block, side="right"), minlength=n_bins)
            for block in blocks
        ]
    )
    draws = np.random.default_rng(seed).multinomial(
        len(blocks), np.full(len(blocks), 1 / len(blocks)), n_resamples
    )
    mass_below = np.cumsum(draws.astype(np.float64) @ masses.astype(np.float64), axis=1)
    middle = np.argmax(2 * mass_below >= mass_below[:, -1:], axis=1)
    return np.asarray(centres[middle], dtype=np.float64)


def _widened(samples: FloatArray, centre: float, n_blocks: int) -> tuple[float, float]:
    low, high = np.quantile(samples, (0.025, 0.975))
    factor = _student_975(n_blocks - 1) / _Z_95 * (n_blocks / (n_blocks - 1)) ** 0.5
    return (
        centre - factor * max(0.0, centre - float(low)),
        centre + factor * max(0.0, float(high) - centre),
    )


def _student_975(degrees: int) -> float:
    """97.5 % quantile of Student's t (Abramowitz and Stegun 26.7.5); 4 % off at 2 degrees."""
    z, n = _Z_95, float(degrees)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / n + second / n**2 + third / n**3


def relative_half_width(p50_s: float, interval_s: tuple[float, float]) -> float:
    """Half the interval's width over the median; 0.1 reads "plus or minus 10 %"."""
    return (interval_s[1] - interval_s[0]) / 2 / p50_s


@dataclass(frozen=True, slots=True)
class PairedRatio:
    """How many times as long ``a`` takes as ``b``, from runs that stood side by side.

    Attributes:
        ratio: median over the pairs of p50(a) / p50(b); below 1 means a is faster.
        interval: 95 % interval from resampled pairs.
        n_pairs: pairs of neighbouring blocks.
    """

    ratio: float
    interval: tuple[float, float]
    n_pairs: int

    @property
    def differs(self) -> bool:
        """Whether the interval excludes 1."""
        return not self.interval[0] <= 1.0 <= self.interval[1]


def paired_ratio(a_s: FloatArray, b_s: FloatArray, seed: int) -> PairedRatio:
    """Median ratio of paired block medians with its 95 % interval.

    Args:
        a_s: (n_pairs,) block medians of a, in seconds; at least 2.
        b_s: (n_pairs,) block medians of b taken beside them.
        seed: of the resampling.
    """
    logs = np.log(a_s / b_s)
    draws = np.random.default_rng(seed).integers(0, logs.size, (_N_RESAMPLES, logs.size))
    centre = float(np.median(logs))
    low, high = np.exp(_widened(np.median(logs[draws], axis=1), centre, logs.size))
    return PairedRatio(float(np.exp(centre)), (float(low), float(high)), int(logs.size))


def fast_state_s(reference_s: FloatArray) -> FloatArray:
    """Fast state of a session: the 20 % quantile of each reference kernel's running median.

    Single times scatter by as much as the machine's phases differ, a median of neighbours does
    not.

    Args:
        reference_s: (n_blocks, n_kernels) reference times beside each block, in order, in seconds.

    Returns:
        (n_kernels,) in seconds.
    """
    steady_s = [running_median(kernel_s, STATE_WINDOW) for kernel_s in reference_s.T]
    return np.asarray(np.quantile(steady_s, LOW_QUANTILE, axis=1), dtype=np.float64)


def slowdown(reference_s: FloatArray, known_fast_s: Sequence[float] = ()) -> FloatArray:
    """Slow-down of the machine seen by the reference kernels, 1 = its fast state.

    Args:
        reference_s: (n_blocks, n_kernels) reference times beside each block, in order, in seconds.
        known_fast_s: (n_kernels,) fast state of an earlier session, in seconds; it counts where
            it is the faster one, so that a session that is slow from beginning to end is seen.
            Empty for none.

    Returns:
        (n_blocks,) geometric mean over the kernels of time over that kernel's fast state.
    """
    fast_s = fast_state_s(reference_s)
    if known_fast_s:
        fast_s = np.minimum(fast_s, known_fast_s)
    relative = np.log(reference_s / fast_s)
    return np.asarray(np.exp(relative.mean(axis=1)), dtype=np.float64)


def trend(values: FloatArray) -> float:
    """Median of the last third over that of the first; above 1.05 speaks of throttling."""
    third = max(1, values.size // 3)
    return float(np.median(values[-third:]) / np.median(values[:third]))
