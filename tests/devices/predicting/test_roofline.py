from __future__ import annotations

import numpy as np
import pytest

from edgekit.devices.predicting.features import group_key
from edgekit.devices.predicting.roofline import MAX_LOG_RESIDUAL, Trees, fit_roofline, fit_trees
from tests.devices.kernels import conv, plain
from tests.devices.timed import law_s, random_network

RNG = np.random.default_rng(0)
KERNELS = [kernel for _ in range(30) for kernel in random_network(RNG)]
TIMES_S = np.array([law_s(kernel) for kernel in KERNELS])


def test_a_law_made_of_the_terms_is_found():
    roofline = fit_roofline(KERNELS, TIMES_S)
    assert roofline.times_s(KERNELS) == pytest.approx(TIMES_S, rel=0.01)


def test_coefficients_are_never_negative():
    roofline = fit_roofline(KERNELS, TIMES_S * np.exp(RNG.normal(0, 0.3, TIMES_S.size)))
    assert min(min(rates) for rates in roofline.coefficients_s.values()) >= 0


def test_it_extrapolates_to_larger_kernels():
    large = [conv(128, 256, 64, 1)]
    roofline = fit_roofline(KERNELS, TIMES_S)
    assert roofline.times_s(large)[0] == pytest.approx(law_s(large[0]), rel=0.05)


def test_an_unknown_group_is_priced_by_the_fallback():
    roofline = fit_roofline(KERNELS, TIMES_S)
    shape = (1, 32, 16, 16)
    assert group_key(plain("Erf", (shape,), shape)) not in roofline.coefficients_s
    assert roofline.times_s([plain("Erf", (shape,), shape)])[0] > 1e-6


def test_trees_learn_what_the_roofline_misses():
    has_act = np.array([bool(kernel.attribute("activation", "")) for kernel in KERNELS])
    times_s = TIMES_S * np.where(has_act, 1.3, 1.0)
    trees = fit_trees(KERNELS, times_s, TIMES_S, np.ones(TIMES_S.size), seed=0)
    corrections = trees.log_corrections(KERNELS, TIMES_S)
    assert np.abs(corrections - np.log(times_s / TIMES_S)).mean() < 0.05
    again = Trees(trees.text, trees.groups)
    assert again.log_corrections(KERNELS, TIMES_S).tolist() == corrections.tolist()


def test_trees_leave_unknown_groups_alone_and_are_bounded():
    trees = fit_trees(KERNELS, 10 * TIMES_S, TIMES_S, np.ones(TIMES_S.size), seed=0)
    corrections = trees.log_corrections(KERNELS, TIMES_S)
    assert corrections.max() <= MAX_LOG_RESIDUAL
    shape = (1, 32, 16, 16)
    odd = plain("Erf", (shape,), shape)
    assert trees.log_corrections([odd], np.array([1e-5])).tolist() == [0.0]
    assert trees.log_corrections([], np.empty(0)).size == 0
