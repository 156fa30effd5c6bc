"""What every latency predictor must do, whoever wrote it.

A test of a predictor calls ``check_predictor`` with kernels of its own; an AssertionError says
which rule was broken.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edgekit.core.figures import Measured
from edgekit.core.kernel import Kernel
from edgekit.devices.predicting.predictor import Predictor

_UNKNOWN_OP = "AnOperatorNobodyHasMeasured"


def check_predictor(
    predictor: Predictor,
    networks: Sequence[Sequence[Kernel]],
    measured: Sequence[Measured] = (),
) -> int:
    """Check a predictor on networks.

    Args:
        predictor: what is checked; it knows every operator of these networks.
        networks: at least two, each with one kernel or more.
        measured: figures of the first networks, at least one to check what is learned from them.

    Returns:
        Predictions that were checked.

    Raises:
        AssertionError: a rule of ``Predictor`` is broken; names it.
    """
    for kernels in networks:
        check_costs(predictor, kernels)
    _check_additive(predictor, networks[0], networks[1])
    _check_unknown(predictor, networks[0])
    if measured:
        pairs = list(zip(networks[: len(measured)], measured, strict=True))
        corrected = predictor.corrected(pairs)
        for kernels in networks:
            check_costs(corrected, kernels)
    return len(networks) * (2 if measured else 1)


def check_costs(predictor: Predictor, kernels: Sequence[Kernel]) -> None:
    """Costs are above zero, the same each time, add up to the prediction and lie in its interval.

    Raises:
        AssertionError: they do not.
    """
    costs_s = predictor.kernel_costs_s(kernels)
    assert costs_s.shape == (len(kernels),), f"one cost per kernel, got {costs_s.shape}"
    assert costs_s.dtype == np.float64, f"costs are float64, got {costs_s.dtype}"
    assert np.isfinite(costs_s).all(), f"costs are finite, got {costs_s}"
    assert (costs_s > 0).all(), f"costs are above zero, got {costs_s}"
    assert np.array_equal(costs_s, predictor.kernel_costs_s(kernels)), "asking changes costs"
    predicted = predictor.predict(kernels)
    assert np.isclose(predicted.latency_s, costs_s.sum(), rtol=1e-9), "the prediction is the sum"
    low, high = predicted.interval_s
    assert 0 < low < high, f"an interval has a lower and an upper bound, got {low} to {high}"
    assert not predicted.unknown_ops, f"these operators are known, got {predicted.unknown_ops}"


def _check_additive(
    predictor: Predictor, first: Sequence[Kernel], second: Sequence[Kernel]
) -> None:
    both = predictor.kernel_costs_s([*first, *second])
    apart = [predictor.kernel_costs_s(kernels) for kernels in (first, second)]
    assert np.allclose(both, np.concatenate(apart), rtol=1e-9), (
        "a kernel costs the same in every network"
    )


def _check_unknown(predictor: Predictor, known: Sequence[Kernel]) -> None:
    unknown = replace(known[0], op=_UNKNOWN_OP, domain="nowhere")
    predicted = predictor.predict([*known, unknown])
    assert predicted.unknown_ops == (_UNKNOWN_OP,), (
        f"an operator without a fit is listed, got {predicted.unknown_ops}"
    )
    more_s = predicted.latency_s - predictor.predict(known).latency_s
    assert more_s > 0, "an operator without a fit is never priced as zero"
