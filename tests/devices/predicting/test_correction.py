from __future__ import annotations

import numpy as np
import pytest

from edgekit.devices.predicting.correction import (
    NO_CORRECTION,
    conformal_interval,
    fit_correction,
    left_out_errors,
)
from edgekit.devices.predicting.features import TERMS, group_key, roofline_terms
from tests.devices.timed import law_s, random_network

RNG = np.random.default_rng(0)
NETWORKS = [random_network(RNG) for _ in range(20)]
COSTS_S = [np.array([law_s(kernel) for kernel in network]) for network in NETWORKS]


def _predicted_s(correction, networks=NETWORKS, costs_s=COSTS_S):
    pairs = zip(networks, costs_s, strict=True)
    return np.array([correction.applied_s(network, costs).sum() for network, costs in pairs])


def test_no_correction_changes_nothing():
    assert NO_CORRECTION.applied_s(NETWORKS[0], COSTS_S[0]).tolist() == COSTS_S[0].tolist()


def test_a_group_that_is_slower_is_found():
    slow = "depthwise"
    labels_s = np.array(
        [
            (costs * [1.5 if group_key(k).endswith(slow) else 1.0 for k in network]).sum()
            for network, costs in zip(NETWORKS, COSTS_S, strict=True)
        ]
    )
    correction = fit_correction(NETWORKS[:15], COSTS_S[:15], labels_s[:15])
    errors = _predicted_s(correction)[15:] / labels_s[15:] - 1
    plain = _predicted_s(NO_CORRECTION)[15:] / labels_s[15:] - 1
    assert np.abs(errors).mean() < 0.2 * np.abs(plain).mean()


def test_on_another_device_work_of_one_kind_may_be_cheaper_than_the_rest():
    shares = [np.array([_shares(kernel) for kernel in network]) for network in NETWORKS]
    cheaper = np.where(np.array(TERMS) == "macs", 0.5, 1.0)
    costs_s = [part.sum(axis=1) for part in shares]
    labels_s = np.array([3 * (part @ cheaper).sum() for part in shares])
    shares = [part / part.sum(axis=1, keepdims=True) for part in shares]
    correction = fit_correction(NETWORKS[:15], costs_s[:15], labels_s[:15], shares=shares[:15])
    triples = zip(NETWORKS, costs_s, shares, strict=True)
    predicted_s = np.array([correction.applied_s(*triple).sum() for triple in triples])
    scale = np.median(labels_s[:15] / [costs.sum() for costs in costs_s[:15]])
    scaled = scale * np.array([costs.sum() for costs in costs_s]) / labels_s - 1
    errors = predicted_s / labels_s - 1
    assert np.abs(errors[15:]).mean() < 0.3 * np.abs(scaled[15:]).mean()


def _shares(kernel):
    """A roofline of its own: a microsecond a call, a byte a nanosecond, a MAC a tenth of one."""
    rates_s = {"call": 1e-6, "bytes_in": 1e-9, "bytes_out": 1e-9, "macs": 1e-10}
    rates = np.array([rates_s.get(term, 0.0) for term in TERMS])
    return rates * roofline_terms(kernel)


def test_corrected_costs_stay_within_a_quarter_and_four_times():
    labels_s = 20 * np.array([costs.sum() for costs in COSTS_S])
    corrected_s = fit_correction(NETWORKS, COSTS_S, labels_s).applied_s(NETWORKS[0], COSTS_S[0])
    assert (corrected_s <= 4 * COSTS_S[0]).all()
    assert (corrected_s >= COSTS_S[0] / 4).all()


def test_left_out_errors_are_those_of_noise_where_there_is_nothing_to_learn():
    noise = RNG.normal(0, 0.05, len(NETWORKS))
    labels_s = np.array([costs.sum() for costs in COSTS_S]) * np.exp(noise)
    errors = left_out_errors(NETWORKS, COSTS_S, labels_s)
    assert errors.shape == (len(NETWORKS),)
    assert 0.03 < np.abs(errors).mean() < 0.12


def test_conformal_interval_covers_what_it_promises():
    rng = np.random.default_rng(1)
    inside = []
    for _ in range(300):
        low, high = conformal_interval(rng.normal(size=40))
        inside.append(low <= rng.normal() <= high)
    assert np.mean(inside) == pytest.approx(0.92, abs=0.05)


def test_conformal_interval_of_few_errors_is_their_range():
    assert conformal_interval(np.array([0.3, -0.1, 0.2])) == (-0.1, 0.3)
