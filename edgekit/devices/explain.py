"""What a profile predicts of a model file, kernel by kernel."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx

from edgekit.core.errors import InputError
from edgekit.core.figures import Predicted
from edgekit.core.target import Target
from edgekit.devices.measuring.session import load_model
from edgekit.devices.networks.lowering import lower
from edgekit.devices.predicting.features import group_key
from edgekit.devices.probe import probe
from edgekit.devices.profile import DeviceProfile
from edgekit.devices.shipped import profile_folder


@dataclass(frozen=True, slots=True)
class ExplainedKernel:
    """What one kernel adds to a prediction.

    Attributes:
        node: its name in the runtime's optimised model.
        op: operator after fusion.
        cost_s: what it adds, in seconds.
        known: whether the profile has a fit for kernels of its group.
        extrapolated: whether it is far larger or smaller than the kernels of that fit.
    """

    node: str
    op: str
    cost_s: float
    known: bool
    extrapolated: bool


@dataclass(frozen=True, slots=True)
class Explained:
    """A prediction and what it is made of.

    Attributes:
        target_text: the target of the profile.
        predicted: the sum, with its interval.
        held_out_mape: error of the profile on networks of families it had not seen, relative.
        rows: the kernels in the order they run; their costs add up to the prediction.
    """

    target_text: str
    predicted: Predicted
    held_out_mape: float
    rows: tuple[ExplainedKernel, ...]


def explain_model(model: Path, profile: Path) -> Explained:
    """Lower a model to kernels with the runtime here, and cost them with a profile.

    Args:
        model: ONNX file; symbolic dimensions count as 1.
        profile: folder of a profile.

    Raises:
        InputError: no model or profile, or a profile made with another runtime or instruction
            set: that one fuses other kernels than the runtime here.
    """
    if not model.is_file():
        raise InputError(f"a model file is needed, {model} is not there; check the path")
    known = DeviceProfile.load(profile_folder(profile))
    facts = probe(Target("local"))
    made, here = (
        f"ONNX Runtime {f.ort_version} on {'+'.join(f.isa)}" for f in (known.facts, facts)
    )
    if made != here:
        raise InputError(
            f"kernels are those of the runtime the profile was made with, {made}, here is {here}; "
            "predict on a machine of that kind"
        )
    load_model(model)
    placed = lower(onnx.load(model), n_threads=known.facts.n_threads)
    kernels = [entry.kernel for entry in placed]
    predictor = known.predictor
    costs_s = predictor.kernel_costs_s(kernels).tolist()
    groups = predictor.roofline.coefficients_s
    far = predictor.roofline.extrapolates(kernels).tolist()
    rows = tuple(
        ExplainedKernel(e.node, e.kernel.op, cost_s, group_key(e.kernel) in groups, is_far)
        for e, cost_s, is_far in zip(placed, costs_s, far, strict=True)
    )
    return Explained(
        known.target_text, predictor.predict(kernels), known.validation.accuracy.mape, rows
    )
