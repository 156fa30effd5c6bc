"""When enough runs were taken for a tail latency, by the early-stopping rule of MLPerf Inference.

A tail quantile read off few runs is low by chance half of the time. The rule (mlcommons,
inference_rules, appendix "Early Stopping Criterion"; there with confidence 0.99 and tolerance 0)
reports a higher order statistic instead: one that the true quantile exceeds with probability of at
most 1 - confidence, whatever the distribution. With more runs it comes down to the quantile.
"""

from __future__ import annotations

import math

import numpy as np

from edgekit.core.errors import InputError
from edgekit.devices.measuring.estimators import FloatArray

CONFIDENCE = 0.99
MAX_RUNS = 2**40


def min_runs(n_over: int, quantile: float, confidence: float = CONFIDENCE) -> int:
    """Fewest runs of which ``n_over`` may be slower than a bound that still holds.

    The least n for which a device that keeps the bound in exactly a share ``quantile`` of its runs
    is slower at most ``n_over`` times in n with a probability of 1 - confidence or less.

    Args:
        n_over: runs slower than the bound, 0 or more.
        quantile: above 0, below 1.
        confidence: above 0, below 1.

    Raises:
        InputError: a value out of its range.

    Example:
        >>> min_runs(1, 0.9), min_runs(1, 0.99), min_runs(0, 0.99)
        (64, 662, 459)
    """
    _check(n_over, quantile, confidence)
    low, high = n_over, 2 * n_over + 2
    while not _enough(high, n_over, quantile, confidence):
        low, high = high, 2 * high
        if high > MAX_RUNS:
            raise InputError(f"a quantile needs at most {MAX_RUNS} runs, {quantile} needs more")
    while high - low > 1:
        middle = (low + high) // 2
        if _enough(middle, n_over, quantile, confidence):
            high = middle
        else:
            low = middle
    return high


def n_over_allowed(n_runs: int, quantile: float, confidence: float = CONFIDENCE) -> int:
    """Most runs that may be slower than a bound that holds; -1 where there are too few runs.

    Args:
        n_runs: runs taken, 0 or more.
        quantile: above 0, below 1.
        confidence: above 0, below 1.

    Raises:
        InputError: a value out of its range.
    """
    _check(n_runs, quantile, confidence)
    low, high = -1, max(0, n_runs)
    while high - low > 1:
        middle = (low + high) // 2
        if _enough(n_runs, middle, quantile, confidence):
            low = middle
        else:
            high = middle
    return low


def bounded_quantile_s(
    durations_s: FloatArray, quantile: float, confidence: float = CONFIDENCE
) -> float:
    """The quantile as MLPerf reports it: an upper bound, nan where there are too few runs.

    Of n runs at most t may be slower (``n_over_allowed``). The t - 1 slowest are dropped and the
    slowest of the rest is the answer; below t = 1 there is none.

    Args:
        durations_s: ``(n_runs,)`` in seconds, independent of each other.
        quantile: above 0, below 1.
        confidence: above 0, below 1.
    """
    n_over = n_over_allowed(durations_s.size, quantile, confidence)
    if n_over < 1:
        return math.nan
    return float(np.partition(durations_s, durations_s.size - n_over)[durations_s.size - n_over])


def _enough(n_runs: int, n_over: int, quantile: float, confidence: float) -> bool:
    from scipy.special import bdtr

    if n_runs <= n_over:
        return False
    return bool(bdtr(n_over, n_runs, 1 - quantile) <= 1 - confidence)


def _check(n: int, quantile: float, confidence: float) -> None:
    if n < 0 or not 0 < quantile < 1 or not 0 < confidence < 1:
        raise InputError(
            "early stopping takes a count of 0 or more, a quantile and a confidence between 0 and "
            f"1, got {n}, {quantile} and {confidence}"
        )
