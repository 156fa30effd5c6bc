"""From what the stages return to what the pages show."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgekit.core.candidate import Candidate
from edgekit.core.figures import Conditions, Measured, Predicted
from edgekit.core.provenance import utc_now, versions
from edgekit.core.task import Task
from edgekit.core.units import format_size
from edgekit.devices.predicting.validation import Accuracy
from edgekit.devices.probe import DeviceFacts
from edgekit.devices.profile import DeviceProfile
from edgekit.export.bundle import Bundle
from edgekit.export.verify import Proof
from edgekit.report.values import (
    Attempt,
    BlockRow,
    ChosenRow,
    DataSummary,
    FileRow,
    FinalistRow,
    FitReport,
    FrontPoint,
    HeldOut,
    LimitRow,
    ParityRow,
    ProfileReport,
    SplitReport,
    SplitRow,
    TextRows,
    ValidationRow,
    VerifyReport,
)
from edgekit.search.evaluated import Evaluated
from edgekit.search.run import Run
from edgekit.split.codec import HEADER_BYTES
from edgekit.split.halves import HalvesProof

_N_PREDICTED = 100


@dataclass(frozen=True, slots=True)
class Attempted:
    """A candidate that was measured again before an artifact was accepted.

    Attributes:
        candidate: its genes.
        predicted: what the cost table said before.
        measured: what the device said.
        verdict: what followed.
    """

    candidate: Candidate
    predicted: Predicted
    measured: Measured
    verdict: str


@dataclass(frozen=True, slots=True)
class Fitted:
    """What ``fit`` returns.

    Attributes:
        run: the search, its table corrected by what was measured again.
        entry: the chosen candidate as the search measured it.
        bundle: the artifact.
        proof: what was measured of it.
        attempts: candidates that were measured again, the accepted one last.
        notes: by block, why a precision is not the one the search had.
    """

    run: Run
    entry: Evaluated
    bundle: Bundle
    proof: Proof
    attempts: tuple[Attempted, ...]
    notes: dict[str, str]


def fit_report(fitted: Fitted, profile: DeviceProfile, task: Task, command: str) -> FitReport:
    """What the page of a fit shows."""
    run, proof = fitted.run, fitted.proof
    return FitReport(
        title=f"edgekit fit: {task.name}",
        created_at=utc_now(),
        data=_data(task),
        facts=_facts(profile.facts),
        limits=proof.limits,
        limit_rows=_limit_rows(proof),
        chosen=_chosen(proof, fitted.bundle, fitted.entry),
        front=(*_measured_points(fitted), *_predicted_points(run)),
        blocks=_search_blocks(fitted),
        conditions=proof.latency.conditions,
        command=command,
        provenance=_provenance(proof, {"seed": str(run.settings.seed)}),
        files=_files(fitted.bundle),
        finalists=tuple(
            FinalistRow(e.candidate.text, e.accuracy, run.tried[e.candidate], e.latency)
            for e in run.measured
            if e.candidate in run.tried
        ),
        attempts=tuple(
            Attempt(a.candidate.text, a.predicted, a.measured, a.verdict) for a in fitted.attempts
        ),
        validation=_validation_rows(profile),
        hypervolumes=tuple(run.hypervolumes()),
    )


def verify_report(bundle: Bundle, proof: Proof, task: Task, command: str) -> VerifyReport:
    """What the page of a verification shows."""
    return VerifyReport(
        title=f"edgekit verify: {bundle.folder.name}",
        created_at=utc_now(),
        data=_data(task),
        facts=(("target", proof.target), ("fingerprint", proof.device_fingerprint)),
        limits=proof.limits,
        limit_rows=_limit_rows(proof),
        chosen=_chosen(proof, bundle, None),
        blocks=tuple(_artifact_blocks(proof)),
        conditions=proof.latency.conditions,
        command=command,
        provenance=_provenance(proof, {}),
        files=_files(bundle),
    )


def split_report(
    proofs: Sequence[tuple[float, HalvesProof]], facts: DeviceFacts, task: Task, command: str
) -> SplitReport:
    """What the page of a split shows.

    Args:
        proofs: price of a bit and what was measured, at least one.
        facts: of the device.
        task: the data.
        command: how it is made again.
    """
    return SplitReport(
        title=f"edgekit split: {task.name}",
        created_at=utc_now(),
        data=_data(task),
        facts=_facts(facts),
        rows=tuple(
            SplitRow(
                price,
                proof.accuracy,
                proof.payload_bytes,
                proof.largest_payload_bytes,
                proof.encoder,
                proof.server,
                proof.encode_s,
                proof.decode_s,
            )
            for price, proof in proofs
        ),
        frame_bytes=HEADER_BYTES,
        command=command,
        provenance=(*versions().items(), ("target", proofs[0][1].target)),
    )


def profile_report(profile: DeviceProfile, command: str) -> ProfileReport:
    """What the page of a profile shows."""
    made, validation = profile.provenance, profile.validation
    n_of = Counter(network.family for network in validation.networks)
    conditions = Conditions(
        provider=profile.facts.provider,
        n_threads=profile.facts.n_threads,
        n_warmup=made.n_discarded,
        n_runs=made.n_runs,
        n_blocks=made.n_blocks,
        n_blocks_marked=made.n_blocks_marked,
        load_1min=made.load_1min,
        steal_share=made.steal_share,
        reference_ratio=made.reference_ratio,
        measured_at=made.measured_at,
    )
    return ProfileReport(
        title=f"edgekit profile: {profile.target_text}",
        created_at=utc_now(),
        facts=_facts(profile.facts),
        validation=_validation_rows(profile),
        floor=_row("floor: between two halves of the labels", validation.floor),
        families=tuple(
            ValidationRow(name, n_of[name], mape, math.nan, math.nan, math.nan)
            for name, mape in validation.by_family.items()
        ),
        held_out=tuple(
            HeldOut(n.name, n.family, n.predicted_s, n.label_s) for n in validation.networks
        ),
        conditions=conditions,
        command=command,
        provenance=(*made.versions, ("revision", made.revision), ("seed", str(made.seed))),
    )


def _search_blocks(fitted: Fitted) -> tuple[BlockRow, ...]:
    run = fitted.run
    operations = run.space.words(fitted.entry.candidate)
    predicted = run.table.block_latencies_s(fitted.entry.candidate)
    rows = {row.name: row for row in _artifact_blocks(fitted.proof)}
    found = []
    for name, operation in operations.items():
        row = rows[name]
        found.append(
            BlockRow(
                name,
                operation,
                row.precision,
                row.measured_s,
                predicted[name],
                row.n_kernels,
                row.provider,
                fitted.notes.get(name, ""),
            )
        )
    skipped = [name for name in run.space.blocks if name not in operations]
    found += [BlockRow(name, "skipped", "", 0.0, 0.0, 0, "") for name in skipped]
    outside = [row for name, row in rows.items() if name not in operations]
    order = run.space.blocks
    return (*sorted(found, key=lambda row: order.index(row.name)), *outside)


def _artifact_blocks(proof: Proof) -> list[BlockRow]:
    providers: dict[str, set[str]] = {}
    for node in proof.nodes:
        providers.setdefault(node.node.split("/")[0], set()).add(node.provider)
    return [
        BlockRow(
            block.name,
            "",
            "" if block.precision is None else str(block.precision),
            block.scaled_s,
            None,
            block.n_kernels,
            ", ".join(sorted(providers.get(block.name, {proof.latency.conditions.provider}))),
        )
        for block in proof.blocks
    ]


def _measured_points(fitted: Fitted) -> list[FrontPoint]:
    entries = {entry.candidate: entry for entry in (*fitted.run.measured, fitted.entry)}
    return [
        FrontPoint(
            entry.candidate.text,
            entry.accuracy.top1,
            entry.latency.p50_s,
            entry.size_bytes,
            "measured",
            memory_bytes=entry.memory_bytes,
            chosen=entry.candidate == fitted.entry.candidate,
            interval_s=entry.latency.interval_s,
        )
        for entry in entries.values()
    ]


def _predicted_points(run: Run) -> list[FrontPoint]:
    """Latency the table predicts for the measured candidates, at their measured accuracy."""
    entries = run.measured[:_N_PREDICTED]
    genes = np.array([entry.candidate.genes for entry in entries])
    latencies = run.table.latencies_s(genes).tolist()
    return [
        FrontPoint(e.candidate.text, e.accuracy.top1, latency, e.size_bytes, "predicted")
        for e, latency in zip(entries, latencies, strict=True)
    ]


def _chosen(proof: Proof, bundle: Bundle, entry: Evaluated | None) -> ChosenRow:
    precisions = list(bundle.manifest.provenance.precisions.values())
    return ChosenRow(
        genes=Candidate(bundle.manifest.provenance.genes).text,
        accuracy=proof.accuracy,
        validation_accuracy=entry.accuracy if entry else None,
        latency=proof.latency,
        size_bytes=proof.size_bytes,
        memory_bytes=proof.memory_bytes,
        int8_share=sum(p == "int8" for p in precisions) / len(precisions),
        parity=tuple(ParityRow(c.name, c.value, c.bound, c.met) for c in proof.parity),
    )


def _limit_rows(proof: Proof) -> tuple[LimitRow, ...]:
    limits, rows = proof.limits, []
    if limits.latency_s is not None:
        measured = proof.latency.quantile_s(limits.quantile)
        rows.append(LimitRow("latency", limits.latency_s, measured, "latency" not in proof.broken))
    if limits.size_bytes is not None:
        size = proof.size_bytes
        rows.append(LimitRow("size", limits.size_bytes, size, "size" not in proof.broken))
    if limits.memory_bytes is not None:
        memory = proof.memory_bytes or 0
        met = "memory" not in proof.broken
        rows.append(LimitRow("memory", limits.memory_bytes, memory, met))
    return tuple(rows)


def _validation_rows(profile: DeviceProfile) -> tuple[ValidationRow, ...]:
    validation = profile.validation
    whole = _row("predictor", validation.accuracy, validation.coverage)
    return (whole, *(_row(f"{name} only", a) for name, a in validation.by_precision.items()))


def _row(name: str, accuracy: Accuracy, coverage: float = math.nan) -> ValidationRow:
    return ValidationRow(
        name, accuracy.n_networks, accuracy.mape, accuracy.within_10, accuracy.tau, coverage
    )


def _data(task: Task) -> DataSummary:
    return DataSummary(
        task.name,
        task.labels,
        len(task.train),
        len(task.validation),
        len(task.calibration),
        len(task.test),
        task.n_skipped,
        task.skipped,
    )


def _facts(facts: DeviceFacts) -> TextRows:
    rows = {
        "processor": facts.cpu_model,
        "cores": str(facts.n_cores),
        "threads given": str(facts.n_threads),
        "instruction sets": ", ".join(facts.isa),
        "memory": "unknown" if facts.memory_bytes is None else format_size(facts.memory_bytes),
        "system": facts.os,
        "virtual machine": "unknown" if facts.is_virtual is None else str(facts.is_virtual),
        "ONNX Runtime": facts.ort_version,
        "providers": ", ".join(facts.available_providers),
        "fingerprint": facts.fingerprint,
    }
    return tuple(rows.items())


def _provenance(proof: Proof, more: dict[str, str]) -> TextRows:
    rows = {**versions(), **more, "device fingerprint": proof.device_fingerprint}
    return (*rows.items(), ("measured at", proof.measured_at))


def _files(bundle: Bundle) -> tuple[FileRow, ...]:
    records = bundle.manifest.files.items()
    return tuple(FileRow(name, record.size_bytes, record.sha256) for name, record in records)
