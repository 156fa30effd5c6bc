"""The checks of predictors pass on ours and catch predictors that break a rule."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from edgekit.core.figures import Measured, Predicted
from edgekit.core.kernel import Kernel
from edgekit.devices.predicting.fitting import fit_predictor
from edgekit.devices.predicting.predictor import KernelPredictor
from edgekit.testing.predictors import check_predictor
from tests.devices.timed import random_samples
from tests.search.synthetic import measured

SAMPLES = random_samples(12)
NETWORKS = [sample.kernels for sample in SAMPLES]


@pytest.fixture(scope="module")
def predictor() -> KernelPredictor:
    return fit_predictor(SAMPLES, seed=0)


def test_ours_keeps_every_rule_before_and_after_a_correction(predictor: KernelPredictor) -> None:
    figures = [measured(1.3 * sample.label_s) for sample in SAMPLES]
    assert check_predictor(predictor, NETWORKS) == len(NETWORKS)
    for known in (figures[:1], figures):
        assert check_predictor(predictor, NETWORKS, known) == 2 * len(NETWORKS)


def test_ours_predicts_the_same_after_a_round_trip(predictor: KernelPredictor) -> None:
    figures = [(sample.kernels, measured(1.3 * sample.label_s)) for sample in SAMPLES]
    for ours in (predictor, predictor.corrected(figures)):
        again = KernelPredictor.from_json(ours.to_json())
        check_predictor(again, NETWORKS)
        for kernels in NETWORKS:
            assert again.predict(kernels) == ours.predict(kernels)


@dataclass(frozen=True)
class Altered:
    """A sound predictor with one thing wrong.

    Attributes:
        sound: the predictor behind it.
        factor: on the cost of the first kernel.
        forgets_unknown: whether operators without a fit are left out.
        extra_s: what the prediction adds to the sum of the costs.
    """

    sound: KernelPredictor
    factor: float = 1.0
    forgets_unknown: bool = False
    extra_s: float = 0.0

    def kernel_costs_s(self, kernels: Sequence[Kernel]) -> NDArray[np.float64]:
        costs_s = self.sound.kernel_costs_s(kernels)
        costs_s[0] *= self.factor
        return costs_s

    def predict(self, kernels: Sequence[Kernel]) -> Predicted:
        predicted = self.sound.predict(kernels)
        unknown = () if self.forgets_unknown else predicted.unknown_ops
        latency_s = float(self.kernel_costs_s(kernels).sum()) + self.extra_s
        return replace(predicted, latency_s=latency_s, unknown_ops=unknown)

    def corrected(self, measured: Sequence[tuple[Sequence[Kernel], Measured]]) -> Altered:
        return replace(self, sound=self.sound.corrected(measured))


@pytest.mark.parametrize(
    ("wrong", "rule"),
    [
        ({"factor": -1.0}, "costs are above zero"),
        ({"factor": float("nan")}, "costs are finite"),
        ({"factor": 2.0}, "a kernel costs the same in every network"),
        ({"extra_s": 1e-3}, "the prediction is the sum"),
        ({"forgets_unknown": True}, "an operator without a fit is listed"),
    ],
)
def test_broken_rules_are_named(
    predictor: KernelPredictor, wrong: dict[str, float], rule: str
) -> None:
    with pytest.raises(AssertionError, match=rule):
        check_predictor(Altered(predictor, **wrong), NETWORKS)  # type: ignore[arg-type]
