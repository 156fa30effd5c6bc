from __future__ import annotations

import json

import numpy as np
import pytest

from edgekit.core.errors import InputError
from edgekit.core.figures import Conditions, Measured
from edgekit.devices.predicting.fitting import MIN_NETWORKS_FOR_TREES, fit_predictor
from edgekit.devices.predicting.predictor import KernelPredictor, Predictor
from tests.devices.kernels import conv, plain
from tests.devices.timed import random_samples

CONDITIONS = Conditions("CPUExecutionProvider", 1, 20, 100, 14, 0, 0.1, 0.0, 1.0, "2026-01-01")


def _measured(label_s: float) -> Measured:
    interval_s = (0.98 * label_s, 1.02 * label_s)
    return Measured(label_s, label_s, label_s, label_s, interval_s, CONDITIONS)


@pytest.fixture(scope="module")
def predictor() -> KernelPredictor:
    return fit_predictor(random_samples(MIN_NETWORKS_FOR_TREES), seed=0)


@pytest.fixture(scope="module")
def roofline_alone() -> KernelPredictor:
    return fit_predictor(random_samples(12), seed=0)


def _errors(predictor: Predictor, samples) -> np.ndarray:
    return np.array([predictor.predict(s.kernels).latency_s / s.label_s - 1 for s in samples])


def test_trees_need_forty_networks(predictor, roofline_alone):
    assert predictor.trees is not None
    assert roofline_alone.trees is None


def test_a_known_law_is_found_again(predictor, roofline_alone):
    fresh = random_samples(20, seed=1)
    assert np.abs(_errors(predictor, fresh)).mean() < 0.03
    assert np.abs(_errors(roofline_alone, fresh)).mean() < 0.03


def test_a_network_is_the_sum_of_its_kernels(predictor):
    kernels = random_samples(1, seed=2)[0].kernels
    costs_s = predictor.kernel_costs_s(kernels)
    assert costs_s.shape == (len(kernels),)
    assert costs_s.min() > 0
    assert predictor.predict(kernels).latency_s == pytest.approx(costs_s.sum(), rel=1e-12)
    one_by_one = [float(predictor.kernel_costs_s([kernel])[0]) for kernel in kernels]
    assert costs_s.tolist() == one_by_one
    assert predictor.kernel_costs_s(kernels).tolist() == costs_s.tolist()


def test_json_gives_the_same_predictions(predictor):
    samples = random_samples(8, seed=3)
    corrected = predictor.corrected([(s.kernels, _measured(1.2 * s.label_s)) for s in samples])
    for original in (predictor, corrected):
        document = json.loads(json.dumps(original.to_json()))
        again = KernelPredictor.from_json(document)
        for sample in samples:
            assert again.predict(sample.kernels) == original.predict(sample.kernels)


def test_unknown_operators_are_listed_and_not_free(predictor):
    shape = (1, 16, 8, 8)
    odd = plain("Erf", (shape,), shape)
    predicted = predictor.predict([conv(3, 16, 32), odd])
    assert predicted.unknown_ops == ("Erf",)
    assert predictor.kernel_costs_s([odd])[0] > 0


def test_kernels_far_from_those_of_the_fit_are_named(predictor):
    known = [
        kernel for sample in random_samples(MIN_NETWORKS_FOR_TREES) for kernel in sample.kernels
    ]
    assert not predictor.roofline.extrapolates(known).any()
    assert predictor.predict(known).extrapolated_ops == ()
    huge = conv(3, 1024, 512)
    assert predictor.roofline.extrapolates([known[0], huge]).tolist() == [False, True]
    assert predictor.predict([known[0], huge]).extrapolated_ops == (huge.op,)
    shape = (1, 16, 8, 8)
    assert not predictor.roofline.extrapolates([plain("Erf", (shape,), shape)]).any()


def test_the_interval_holds_the_prediction_and_most_labels(predictor):
    fresh = random_samples(30, seed=4)
    predicted = [predictor.predict(sample.kernels) for sample in fresh]
    assert all(p.interval_s[0] <= p.latency_s * 1.05 for p in predicted)
    inside = [
        p.interval_s[0] * 0.99 <= s.label_s <= p.interval_s[1] * 1.01
        for p, s in zip(predicted, fresh, strict=True)
    ]
    assert np.mean(inside) > 0.8


def test_measured_networks_correct_a_family(predictor):
    family = random_samples(40, seed=5, factor=1.4)
    seen, fresh = family[:10], family[10:]
    corrected = predictor.corrected([(s.kernels, _measured(s.label_s)) for s in seen])
    assert np.abs(_errors(predictor, fresh)).mean() > 0.2
    assert np.abs(_errors(corrected, fresh)).mean() < 0.05
    again = corrected.corrected([(s.kernels, _measured(s.label_s)) for s in seen])
    assert again.predict(fresh[0].kernels) == corrected.predict(fresh[0].kernels)


def test_one_measured_network_moves_the_others_the_same_way(predictor):
    sample, other = random_samples(2, seed=6)
    corrected = predictor.corrected([(sample.kernels, _measured(1.3 * sample.label_s))])
    assert corrected.predict(other.kernels).latency_s > predictor.predict(other.kernels).latency_s


def test_nothing_measured_is_refused(predictor):
    with pytest.raises(InputError, match="at least one measured network"):
        predictor.corrected([])


def test_too_few_networks_are_refused():
    with pytest.raises(InputError, match="at least 3 networks, got 2"):
        fit_predictor(random_samples(2))


@pytest.mark.parametrize(
    "change",
    [
        {"terms": ["call"]},
        {"fallback_s": "fast"},
        {"fallback_s": [1e-6]},
        {"transfer": {"common": 1, "factors": {}, "constants_s": {}, "work": {"Conv": [0.1]}}},
        {"extra": 1},
        {"log_interval": [0.0]},
    ],
)
def test_a_document_of_another_form_is_refused(predictor, change):
    with pytest.raises(InputError, match="profile again"):
        KernelPredictor.from_json({**predictor.to_json(), **change})


def test_a_device_that_is_much_faster_is_reached_from_few_networks(predictor):
    there = random_samples(20, seed=4, factor=0.2)
    kernels = [sample.kernels for sample in there]
    transferred, errors = predictor.transferred(kernels, np.array([s.label_s for s in there]))
    fresh = random_samples(20, seed=5, factor=0.2)
    assert np.abs(errors).mean() < 0.05
    assert np.abs(_errors(transferred, fresh)).mean() < 0.05
    assert np.abs(_errors(predictor, fresh)).mean() > 1
    again = KernelPredictor.from_json(json.loads(json.dumps(transferred.to_json())))
    assert _errors(again, fresh).tolist() == _errors(transferred, fresh).tolist()
    corrected = transferred.corrected([(s.kernels, _measured(s.label_s)) for s in fresh])
    assert np.abs(_errors(corrected, random_samples(20, seed=6, factor=0.2))).mean() < 0.05


def test_a_transfer_needs_ten_networks(predictor):
    there = random_samples(9)
    with pytest.raises(InputError, match="at least 10 measured networks, got 9"):
        predictor.transferred([s.kernels for s in there], np.array([s.label_s for s in there]))
