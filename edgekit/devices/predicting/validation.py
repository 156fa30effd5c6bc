"""How far off predictions are: the figures every claim about a predictor is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau

from edgekit.devices.predicting.predictor import KernelPredictor
from edgekit.devices.predicting.samples import NetworkSample, TimedNetwork

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Agreement of two series of latencies.

    Attributes:
        n_networks: that were compared.
        mape: mean of |a / b - 1|.
        within_5: share within 5 %.
        within_10: share within 10 %.
        tau: Kendall's rank correlation (tau-b); nan below two networks.
    """

    n_networks: int
    mape: float
    within_5: float
    within_10: float
    tau: float


@dataclass(frozen=True, slots=True)
class JudgedNetwork:
    """One held-out network: what was predicted and what was measured.

    Attributes:
        name: of the network.
        family: it belongs to.
        predicted_s: predicted latency, in seconds.
        label_s: measured label, in seconds.
    """

    name: str
    family: str
    predicted_s: float
    label_s: float


@dataclass(frozen=True, slots=True)
class Validation:
    """Error of a predictor on networks whose families were not in its fit.

    Attributes:
        families: that were held out.
        accuracy: of the predictor.
        by_precision: the same for each precision.
        by_family: mean absolute relative error of each family.
        worst_family: the one with the largest.
        coverage: share of labels inside the 90 % interval.
        floor: the same statistics between the two halves of the labels: no predictor can be
            better.
        node_times: with the true time of every kernel in place of the predicted one: what a
            perfect kernel model would reach; None where kernels were not timed.
        unknown_ops: operators of these networks that had no fit.
        networks: every one of them.
    """

    families: tuple[str, ...]
    accuracy: Accuracy
    by_precision: dict[str, Accuracy]
    by_family: dict[str, float]
    worst_family: str
    coverage: float
    floor: Accuracy
    node_times: Accuracy | None
    unknown_ops: tuple[str, ...]
    networks: tuple[JudgedNetwork, ...]


def accuracy_of(estimate_s: Array, truth_s: Array) -> Accuracy:
    """Compare (n,) latencies with (n,) true ones, n >= 1."""
    errors = np.abs(estimate_s / truth_s - 1)
    tau = float(kendalltau(estimate_s, truth_s).statistic) if errors.size > 1 else float("nan")
    return Accuracy(
        int(errors.size),
        float(errors.mean()),
        float((errors <= 0.05).mean()),
        float((errors <= 0.10).mean()),
        tau,
    )


def validate(predictor: KernelPredictor, samples: Sequence[TimedNetwork]) -> Validation:
    """Judge a predictor on samples that had no part in its fit; at least one."""
    labels_s = np.array([sample.label_s for sample in samples])
    predicted = [predictor.predict(sample.kernels) for sample in samples]
    latencies_s = np.array([prediction.latency_s for prediction in predicted])
    inside = [
        prediction.interval_s[0] <= label_s <= prediction.interval_s[1]
        for prediction, label_s in zip(predicted, labels_s, strict=True)
    ]
    halves = np.array([sample.halves_s for sample in samples])

    def rows_of(field: str, value: str) -> NDArray[np.intp]:
        return np.flatnonzero([getattr(sample, field) == value for sample in samples])

    precisions = sorted({sample.precision for sample in samples})
    families = sorted({sample.family for sample in samples})
    by_family = {
        name: accuracy_of(latencies_s[rows], labels_s[rows]).mape
        for name in families
        for rows in [rows_of("family", name)]
    }
    return Validation(
        families=tuple(families),
        accuracy=accuracy_of(latencies_s, labels_s),
        by_precision={
            name: accuracy_of(latencies_s[rows], labels_s[rows])
            for name in precisions
            for rows in [rows_of("precision", name)]
        },
        by_family=by_family,
        worst_family=max(by_family, key=lambda name: by_family[name]),
        coverage=float(np.mean(inside)),
        floor=accuracy_of(halves[:, 0], halves[:, 1]),
        node_times=_with_node_times(predictor, samples, labels_s),
        unknown_ops=tuple(sorted({op for p in predicted for op in p.unknown_ops})),
        networks=tuple(
            JudgedNetwork(sample.name, sample.family, prediction.latency_s, sample.label_s)
            for sample, prediction in zip(samples, predicted, strict=True)
        ),
    )


def _with_node_times(
    predictor: KernelPredictor, samples: Sequence[TimedNetwork], labels_s: Array
) -> Accuracy | None:
    sums_s = [
        predictor.overhead.removed_s(sample.kernels, sample.kernel_times_s).sum()
        for sample in samples
        if isinstance(sample, NetworkSample)
    ]
    return accuracy_of(np.array(sums_s), labels_s) if len(sums_s) == len(labels_s) else None
