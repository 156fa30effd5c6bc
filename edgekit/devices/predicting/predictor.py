"""From kernels to the latency of a network on one device.

    kernel --roofline of its group--> s --trees--> s --b * s + c--> s --transfer, correction--> s
                                                                       network = sum over its
                                                                       kernels

``b`` and ``c`` undo what profiling adds to each kernel, by element type and by group. A kernel of
a group without a fit is priced by a roofline over all groups and named in ``unknown_ops``; it is
never free.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from edgekit.core.errors import InputError
from edgekit.core.figures import Measured, Predicted
from edgekit.core.files import first_problem
from edgekit.core.kernel import Kernel
from edgekit.devices.predicting.correction import (
    NO_CORRECTION,
    Correction,
    conformal_interval,
    fit_correction,
    left_out_errors,
)
from edgekit.devices.predicting.features import TERMS, TREE_FEATURES, group_key, is_integer
from edgekit.devices.predicting.roofline import Roofline, Trees

Array = NDArray[np.float64]

LEAST_SHARE = 0.05
MIN_MEASURED_FOR_INTERVAL = 10


class Predictor(Protocol):
    """What estimates latency from kernels. It never measures."""

    def kernel_costs_s(self, kernels: Sequence[Kernel]) -> Array:
        """(n_kernels,) float64 seconds that each kernel adds to any network, above 0."""
        ...

    def predict(self, kernels: Sequence[Kernel]) -> Predicted:
        """The latency of a network: the sum of its kernels' costs, with a 90 % interval."""
        ...

    def corrected(self, measured: Sequence[tuple[Sequence[Kernel], Measured]]) -> Predictor:
        """A predictor that has learned from whole networks that were measured."""
        ...


@dataclass(frozen=True, slots=True)
class Overhead:
    """Turns the profiled time of a kernel into its share of a network that is not profiled.

    The share is ``scale * s + constant``: profiling lengthens kernels and evicts caches, while
    what lies between two kernels is not in any kernel's time.

    Attributes:
        scales: for kernels on floats and on integers.
        constants_s: the same, in seconds; mostly below 0.
        groups_s: added for the kernels of a group, in seconds.
    """

    scales: tuple[float, float]
    constants_s: tuple[float, float]
    groups_s: Mapping[str, float]

    def removed_s(self, kernels: Sequence[Kernel], profiled_s: Array) -> Array:
        """(n_kernels,) seconds without profiling, at least 5 % of those with."""
        rows = [is_integer(kernel) for kernel in kernels]
        scales = np.array([self.scales[row] for row in rows])
        constants_s = [
            self.constants_s[row] + self.groups_s.get(group_key(kernel), 0.0)
            for row, kernel in zip(rows, kernels, strict=True)
        ]
        removed_s = scales * profiled_s + np.array(constants_s)
        return np.asarray(np.maximum(removed_s, LEAST_SHARE * profiled_s))


class KernelPredictor:
    """The predictor of a device profile.

    Args:
        roofline: seconds by kernel group.
        trees: correction of the roofline; None where too few networks were profiled.
        overhead: what profiling adds.
        log_interval: 5 % and 95 % quantile of log(measured / predicted) on networks that were not
            fitted.
        correction: factors learned from whole networks.
        transfer: factors that lead to another device than the one whose kernels were profiled.

    Costs are kept per distinct kernel, so that asking again is cheap.
    """

    def __init__(
        self,
        roofline: Roofline,
        trees: Trees | None,
        overhead: Overhead,
        log_interval: tuple[float, float],
        correction: Correction = NO_CORRECTION,
        transfer: Correction = NO_CORRECTION,
    ) -> None:
        self.roofline = roofline
        self.trees = trees
        self.overhead = overhead
        self.log_interval = log_interval
        self.correction = correction
        self.transfer = transfer
        self._known_s: dict[Kernel, float] = {}

    def kernel_costs_s(self, kernels: Sequence[Kernel]) -> Array:
        """(n_kernels,) float64 seconds, above 0; a network costs the sum."""
        new = list(dict.fromkeys(kernel for kernel in kernels if kernel not in self._known_s))
        if new:
            self._known_s.update(zip(new, self._costs_s(new).tolist(), strict=True))
        return np.array([self._known_s[kernel] for kernel in kernels], dtype=np.float64)

    def _costs_s(self, kernels: Sequence[Kernel]) -> Array:
        profiled_s = profiled_times_s(self.roofline, self.trees, kernels)
        costs_s = self.overhead.removed_s(kernels, profiled_s)
        shares = self.roofline.work_shares(kernels) if self.transfer.work else None
        costs_s = self.transfer.applied_s(kernels, costs_s, shares)
        return self.correction.applied_s(kernels, costs_s)

    def predict(self, kernels: Sequence[Kernel]) -> Predicted:
        """The latency of a network, its 90 % interval, and the operators to be careful about."""
        latency_s = float(self.kernel_costs_s(kernels).sum())
        low, high = (latency_s * math.exp(bound) for bound in self.log_interval)
        known = self.roofline.coefficients_s
        unknown = sorted({k.op for k in kernels if group_key(k) not in known})
        far = self.roofline.extrapolates(kernels)
        extrapolated = sorted({k.op for k, is_far in zip(kernels, far, strict=True) if is_far})
        return Predicted(latency_s, (low, high), tuple(unknown), tuple(extrapolated))

    def corrected(self, measured: Sequence[tuple[Sequence[Kernel], Measured]]) -> KernelPredictor:
        """A predictor corrected by whole networks of the family in question, from one on.

        From ten networks on the interval comes from their cross-validated errors. Learns the
        labels, so that what is predicted stays the label. An earlier correction is replaced, so
        hand in all networks every time.

        Raises:
            InputError: no network.
        """
        if not measured:
            raise InputError("a correction needs at least one measured network, got none")
        plain = self._with(self.log_interval, transfer=self.transfer)
        networks = [list(kernels) for kernels, _ in measured]
        costs_s = [plain.kernel_costs_s(network) for network in networks]
        labels_s = np.array([figures.label_s for _, figures in measured])
        interval = self.log_interval
        if len(networks) >= MIN_MEASURED_FOR_INTERVAL:
            interval = conformal_interval(left_out_errors(networks, costs_s, labels_s))
        correction = fit_correction(networks, costs_s, labels_s)
        return self._with(interval, correction=correction, transfer=self.transfer)

    def transferred(
        self, networks: Sequence[Sequence[Kernel]], labels_s: Array
    ) -> tuple[KernelPredictor, Array]:
        """A predictor for another device, from whole networks measured there.

        Args:
            networks: kernels of each network as the runtime's CPU provider runs it, whatever the
                other device makes of them; at least ten networks.
            labels_s: (n_networks,) measured on the other device, in seconds.

        Returns:
            The predictor, and (n_networks,) log(label / prediction) of networks left out of its
            fit, from which its interval comes.

        Raises:
            InputError: fewer than ten networks.
        """
        if len(networks) < MIN_MEASURED_FOR_INTERVAL:
            raise InputError(
                f"a transfer needs at least {MIN_MEASURED_FOR_INTERVAL} measured networks, "
                f"got {len(networks)}"
            )
        plain = self._with(self.log_interval)
        costs_s = [plain.kernel_costs_s(network) for network in networks]
        shares = [self.roofline.work_shares(network) for network in networks]
        errors = left_out_errors(networks, costs_s, labels_s, shares=shares)
        transfer = fit_correction(networks, costs_s, labels_s, shares=shares)
        return self._with(conformal_interval(errors), transfer=transfer), errors

    def _with(
        self,
        log_interval: tuple[float, float],
        *,
        correction: Correction = NO_CORRECTION,
        transfer: Correction = NO_CORRECTION,
    ) -> KernelPredictor:
        parts = (self.roofline, self.trees, self.overhead)
        return KernelPredictor(*parts, log_interval, correction, transfer)

    def to_json(self) -> dict[str, object]:
        """Plain values; ``from_json`` gives a predictor that predicts the same."""
        return {
            "terms": list(TERMS),
            "tree_features": list(TREE_FEATURES),
            "coefficients_s": {k: list(v) for k, v in self.roofline.coefficients_s.items()},
            "fallback_s": list(self.roofline.fallback_s),
            "range_s": {k: list(v) for k, v in self.roofline.range_s.items()},
            "trees": None if self.trees is None else self.trees.text.split("\n"),
            "groups": [] if self.trees is None else list(self.trees.groups),
            "overhead": {
                "scales": list(self.overhead.scales),
                "constants_s": list(self.overhead.constants_s),
                "groups_s": dict(self.overhead.groups_s),
            },
            "log_interval": list(self.log_interval),
            "correction": asdict(self.correction),
            "transfer": asdict(self.transfer),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, object]) -> KernelPredictor:
        """Inverse of ``to_json``.

        Raises:
            InputError: a field is missing or of a wrong type, or the predictor was made for other
            features.
        """
        try:
            parsed = _Document.model_validate(document)
        except ValidationError as error:
            raise InputError(
                "a predictor has the fields this edgekit writes, this one has not: "
                f"{first_problem(error)}; profile again into another folder"
            ) from error
        rates = [
            parsed.fallback_s,
            *parsed.coefficients_s.values(),
            *parsed.transfer.work.values(),
        ]
        fits = parsed.terms == list(TERMS) and parsed.tree_features == list(TREE_FEATURES)
        if not fits or parsed.correction.work or {len(values) for values in rates} != {len(TERMS)}:
            raise InputError(
                "a predictor must be made for the features of this edgekit, this one was not; "
                "profile again into another folder"
            )
        return cls(
            Roofline(parsed.coefficients_s, parsed.fallback_s, parsed.range_s),
            Trees("\n".join(parsed.trees), parsed.groups) if parsed.trees else None,
            parsed.overhead,
            parsed.log_interval,
            parsed.correction,
            parsed.transfer,
        )


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid")
    terms: list[str]
    tree_features: list[str]
    coefficients_s: dict[str, tuple[float, ...]]
    fallback_s: tuple[float, ...]
    range_s: dict[str, tuple[float, float]]
    trees: list[str] | None
    groups: list[str]
    overhead: Overhead
    log_interval: tuple[float, float]
    correction: Correction
    transfer: Correction


def profiled_times_s(roofline: Roofline, trees: Trees | None, kernels: Sequence[Kernel]) -> Array:
    """(n_kernels,) what a profiled session would say, in seconds."""
    times_s = roofline.times_s(kernels)
    if trees is None:
        return times_s
    return np.asarray(times_s * np.exp(trees.log_corrections(kernels, times_s)))
