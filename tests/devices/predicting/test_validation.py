from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from edgekit.devices.predicting.fitting import fit_predictor
from edgekit.devices.predicting.validation import accuracy_of, validate
from tests.devices.timed import random_samples


def test_accuracy_counts_relative_errors():
    truth_s = np.array([1.0, 2.0, 4.0, 8.0])
    accuracy = accuracy_of(truth_s * [1.0, 1.04, 0.92, 1.2], truth_s)
    assert accuracy.mape == pytest.approx((0 + 0.04 + 0.08 + 0.2) / 4)
    assert (accuracy.within_5, accuracy.within_10, accuracy.tau) == (0.5, 0.75, 1.0)


def test_rank_correlation_needs_two_networks():
    assert math.isnan(accuracy_of(np.ones(1), np.ones(1)).tau)


def test_validation_names_the_worst_family_and_the_unknown():
    predictor = fit_predictor(random_samples(12))
    held_out = random_samples(8, seed=1)
    worse = [
        dataclasses.replace(s, label_s=2 * s.label_s, precision="int8")
        if s.family == "family1"
        else s
        for s in held_out
    ]
    validation = validate(predictor, worse)
    assert validation.worst_family == "family1"
    assert validation.families == ("family0", "family1")
    assert validation.by_family["family0"] < 0.05
    assert validation.by_precision["int8"].mape == validation.by_family["family1"]
    assert validation.floor.mape == 0
    assert validation.coverage <= 0.5
    assert validation.unknown_ops == ()


def test_true_kernel_times_are_judged_beside():
    samples = random_samples(12)
    assert validate(fit_predictor(samples), samples).node_times.mape < 0.02
