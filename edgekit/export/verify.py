"""The measured proof of a bundle: everything it promises, taken again on the target."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

from edgekit.core.errors import InputError, VerificationFailed
from edgekit.core.figures import Measured, MeasuredAccuracy
from edgekit.core.files import write_json
from edgekit.core.limits import Limits
from edgekit.core.precision import Precision
from edgekit.core.progress import Progress
from edgekit.core.provenance import utc_now, versions
from edgekit.core.target import Target
from edgekit.core.task import Task
from edgekit.core.units import format_duration, format_size
from edgekit.devices.measuring.measure import LONG_PATIENCE_S, measure_models
from edgekit.devices.measuring.memory import known_memory_bytes, peak_memory_bytes
from edgekit.devices.measuring.placement import NodePlacement, placed_nodes
from edgekit.devices.probe import probe as probe_device
from edgekit.export.block_times import BlockTime, block_times
from edgekit.export.bundle import MODEL, PROOF, Bundle
from edgekit.export.manifest import MeasuredSummary, TaskRecord
from edgekit.export.parity import ParityCheck, parity_checks, probe_logits
from edgekit.export.run import measure_accuracy

KIND, SCHEMA_VERSION = "proof", 1
_PERCENT = 100


@dataclass(frozen=True, slots=True)
class Proof:
    """What was measured of a bundle on a target.

    Attributes:
        model_sha256: digest of the model file all of it is about.
        target: where, as text.
        device_fingerprint: of that target.
        same_device: whether that is the device the bundle was made for.
        same_data: whether the task is the one the bundle was made for.
        limits: what the artifact must not exceed.
        latency: of one single-image run.
        size_bytes: size of the model file.
        accuracy: of the artifact in ONNX Runtime, on the whole test split.
        parity: comparisons of the artifact with the forms it was made from.
        nodes: every node and the provider that runs it.
        blocks: where the time goes.
        memory_bytes: what loading and running it adds to a process at its peak; None where the
            system does not say.
        broken: names of the limits that are broken, of ``FIGURES``.
        versions: of Python and the packages that measured.
        measured_at: UTC time, ISO 8601.
    """

    model_sha256: str
    target: str
    device_fingerprint: str
    same_device: bool
    same_data: bool
    limits: Limits
    latency: Measured
    size_bytes: int
    memory_bytes: int | None
    accuracy: MeasuredAccuracy
    parity: tuple[ParityCheck, ...]
    nodes: tuple[NodePlacement, ...]
    blocks: tuple[BlockTime, ...]
    broken: tuple[str, ...]
    versions: dict[str, str]
    measured_at: str

    @property
    def failures(self) -> tuple[str, ...]:
        """What does not hold, one sentence each; empty when everything does."""
        return (
            *self._broken_limits(),
            *self._failed_checks(),
            *self._strays(),
            *self._emulated(),
        )

    @property
    def holds(self) -> bool:
        """Whether limits, checks and placement are all as they must be."""
        return not self.failures

    def require(self) -> None:
        """Raise VerificationFailed with the failures, unless everything holds."""
        if self.failures:
            raise VerificationFailed(
                f"the artifact must hold what it promises on {self.target}: "
                f"{'; '.join(self.failures)}; see {PROOF} in the bundle"
            )

    def summary(self) -> MeasuredSummary:
        """The proof in short, for the manifest."""
        return MeasuredSummary(
            target=self.target,
            device_fingerprint=self.device_fingerprint,
            latency_p50_s=self.latency.p50_s,
            latency_p90_s=self.latency.p90_s,
            size_bytes=self.size_bytes,
            memory_bytes=self.memory_bytes,
            top1=self.accuracy.top1,
            n_images=self.accuracy.n_images,
            holds=self.holds,
            measured_at=self.measured_at,
        )

    def to_json(self) -> dict[str, object]:
        """As plain values for a file; what is unknown is null."""
        document = _plain(asdict(self))
        assert isinstance(document, dict)
        return {"holds": self.holds, "failures": list(self.failures), **document}

    def _broken_limits(self) -> list[str]:
        limits, found = self.limits, []
        if "latency" in self.broken and limits.latency_s is not None:
            latency_s = self.latency.quantile_s(limits.quantile)
            found.append(
                f"latency {limits.quantile} is {format_duration(latency_s)}, "
                f"the limit {format_duration(limits.latency_s)}"
            )
        if "size" in self.broken and limits.size_bytes is not None:
            found.append(
                f"size is {format_size(self.size_bytes)}, "
                f"the limit {format_size(limits.size_bytes)}"
            )
        if "memory" in self.broken and limits.memory_bytes is not None:
            found.append(
                f"peak memory is {format_size(self.memory_bytes or 0)}, "
                f"the limit {format_size(limits.memory_bytes)}"
            )
        return found

    def _failed_checks(self) -> list[str]:
        return [
            f"{check.name} is {check.value:.3g}, it must be {check.bound}"
            for check in self.parity
            if not check.met
        ]

    def _emulated(self) -> list[str]:
        conditions = self.latency.conditions
        if not conditions.is_emulated or self.limits.latency_s is None:
            return []
        return [f"{conditions.provider} is only emulated here, its times keep no latency limit"]

    def _strays(self) -> list[str]:
        wanted = self.latency.conditions.provider
        return [
            f"{node.node} ({node.operator}) ran on {node.provider}, not on {wanted}"
            for node in self.nodes
            if node.provider != wanted
        ]


def verify(
    bundle: Bundle,
    target: Target,
    task: Task,
    *,
    limits: Limits | None = None,
    progress: Progress | None = None,
    seed: int = 0,
) -> Proof:
    """Measure a bundle on the target and leave the proof beside its files.

    Latency is taken first, while nothing else runs; on the device the bundle was made for, only
    while that is as fast as when it was profiled. A proof that does not hold is returned like
    one that does; call ``require`` to raise.

    Args:
        bundle: what to verify.
        target: where; one thread count per process gives the cleanest figures.
        task: gives the test split; the bundle's own preprocessing is applied to it.
        limits: what must hold; None for the limits in the manifest.
        progress: how to show it; None for stderr.
        seed: of inputs and resampling in the latency measurement.

    Raises:
        InputError: a task with other classes, or memory is limited and the system does not tell
            it.
        TooNoisy: the latency cannot be had with a sound interval.
    """
    if bundle.labels != task.labels:
        raise InputError(
            f"the task must have the classes of the bundle, {_brief(bundle.labels)}, it has "
            f"{_brief(task.labels)}; give the data it was trained for"
        )
    shown, provenance = progress or Progress(), bundle.manifest.provenance
    limits = provenance.limits if limits is None else limits
    model = bundle.model_path.read_bytes()
    fingerprint = probe_device(target).fingerprint
    same_device = fingerprint == provenance.device_fingerprint
    known_fast_s = provenance.reference_fast_s if same_device else ()
    latency = _latency(model, target, known_fast_s, shown, seed)
    is_limited = limits.memory_bytes is not None
    memory_bytes = (known_memory_bytes if is_limited else peak_memory_bytes)(model, target)
    precisions: dict[str, Precision] = provenance.precisions
    blocks = block_times(model, target, precisions, latency.p50_s)
    probe, n_cores = bundle.probe(), len(os.sched_getaffinity(0))
    answers = probe_logits(model, probe, bundle.preprocessing, n_threads=target.n_threads)
    with shown.track(len(task.test), "counting right answers") as update:
        accuracy = measure_accuracy(
            model,
            task.test,
            bundle.preprocessing,
            name="test",
            n_threads=n_cores,
            update=update,
        )
    proof = Proof(
        model_sha256=bundle.manifest.files[MODEL].sha256,
        target=target.text,
        device_fingerprint=fingerprint,
        same_device=same_device,
        same_data=TaskRecord.of(task) == provenance.task,
        limits=limits,
        latency=latency,
        size_bytes=len(model),
        memory_bytes=memory_bytes,
        accuracy=accuracy,
        parity=parity_checks(probe, answers),
        nodes=placed_nodes(model, target),
        blocks=blocks,
        broken=limits.broken_by(latency.quantile_s(limits.quantile), len(model), memory_bytes),
        versions=versions(),
        measured_at=utc_now(),
    )
    write_json(bundle.folder / PROOF, KIND, SCHEMA_VERSION, proof.to_json())
    bundle.recorded(proof.summary())
    return proof


def _latency(
    model: bytes, target: Target, known_fast_s: Sequence[float], shown: Progress, seed: int
) -> Measured:
    with shown.track(_PERCENT, "measuring latency") as update:
        figures = measure_models(
            {MODEL: model},
            target,
            seed=seed,
            patience_s=LONG_PATIENCE_S,
            known_fast_s=known_fast_s,
            progress=_in_percent(update),
        )
    return figures[MODEL]


def _in_percent(update: Callable[[int], None]) -> Callable[[int, int], None]:
    """Progress for work whose total may grow."""
    return lambda n_done, n_total: update(_PERCENT * n_done // n_total)


def _brief(labels: tuple[str, ...]) -> str:
    shown = ", ".join(labels[:3])
    return f"{len(labels)} ({shown}, ...)" if len(labels) > 3 else f"{len(labels)} ({shown})"


def _plain(value: object) -> object:
    """Tuples as lists, and None for a number that JSON cannot hold."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
