"""A device profile: what the device is, what was measured, the predictor and its error.

    probe -> time the plan's networks -> fit on the fitted families -> judge on the held-out ones
    -> folder

The folder holds ``profile.json`` (facts, provenance, validation, predictor as data) and
``measurements.parquet`` (every block with its time stamp). Neither holds code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgekit.core.errors import InputError
from edgekit.core.files import first_problem, read_json, write_bytes_atomic, write_json
from edgekit.core.progress import Progress
from edgekit.core.provenance import git_revision, versions
from edgekit.core.target import CPU_PROVIDER, Target
from edgekit.devices.measuring.estimators import fast_state_s, slowdown
from edgekit.devices.measuring.interleave import N_DISCARDED, RawBlock
from edgekit.devices.measuring.telemetry import CpuTimes, load_1min
from edgekit.devices.predicting.fitting import fit_predictor
from edgekit.devices.predicting.plan import Plan, PlannedNetwork, full_plan, quick_plan
from edgekit.devices.predicting.predictor import KernelPredictor
from edgekit.devices.predicting.samples import NetworkSample, Source, take_samples
from edgekit.devices.predicting.validation import Validation, validate
from edgekit.devices.probe import DeviceFacts, probe
from edgekit.devices.providers.catalogue import Provider, provider_named

KIND = "device-profile"
SCHEMA_VERSION = 4
PROFILE_FILE = "profile.json"
MEASUREMENTS_FILE = "measurements.parquet"
MAX_NOISE = 0.10
QUIET = Progress(quiet=True)


@dataclass(frozen=True, slots=True)
class Provenance:
    """How a profile came about.

    Attributes:
        plan: ``"full"``, ``"quick"``, ``"custom"`` or ``"transfer"``.
        seed: of plan, order and fit.
        n_networks: that were timed.
        n_passes: blocks per network and session.
        n_discarded: runs dropped at the start of every block, after the warm-up.
        n_blocks: all blocks taken.
        n_blocks_marked: of these, beside a slow reference kernel.
        n_runs: kept runs without and with profiling.
        load_1min: load average at the end; nan where unknown.
        steal_share: share of CPU time stolen by the hypervisor; nan where unknown.
        reference_ratio: reference kernels, slowest block over fastest block, at least 1.
        duration_s: of the whole profiling, in seconds.
        measured_at: UTC time, ISO 8601.
        revision: git revision of edgekit, empty where it does not lie in a repository.
        versions: (package, version).
        known: of a transfer, the devices and targets it came from, the one that was used first;
            empty where kernels were timed.
    """

    plan: str
    seed: int
    n_networks: int
    n_passes: int
    n_discarded: int
    n_blocks: int
    n_blocks_marked: int
    n_runs: int
    load_1min: float
    steal_share: float
    reference_ratio: float
    duration_s: float
    measured_at: str
    revision: str
    versions: tuple[tuple[str, str], ...]
    known: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DeviceProfile:
    """A device as edgekit knows it.

    Attributes:
        target_text: the target it was made for, for example ``"local?threads=2"``.
        facts: what was found there.
        reference_fast_s: (n_kernels,) reference kernels in its fast state, in seconds; later
            sessions are judged by it.
        predictor: latency from kernels.
        validation: its error on networks of families that were not in the fit.
        provenance: how it was made.
    """

    target_text: str
    facts: DeviceFacts
    reference_fast_s: tuple[float, ...]
    predictor: KernelPredictor
    validation: Validation
    provenance: Provenance

    def save(self, folder: Path) -> Path:
        """Write ``profile.json`` into the folder; returns its path."""
        path = folder / PROFILE_FILE
        content: dict[str, object] = {
            "target": self.target_text,
            "fingerprint": self.facts.fingerprint,
            "facts": asdict(self.facts),
            "reference_fast_s": list(self.reference_fast_s),
            "provenance": asdict(self.provenance),
            "validation": asdict(self.validation),
            "predictor": self.predictor.to_json(),
        }
        write_json(path, KIND, SCHEMA_VERSION, content)
        return path

    @classmethod
    def load(cls, folder: Path) -> DeviceProfile:
        """Read ``profile.json`` from a folder.

        Raises:
            InputError: missing, of another kind or schema, or with missing or unknown fields.
        """
        path = folder / PROFILE_FILE
        document = read_json(path, KIND, SCHEMA_VERSION)
        try:
            parsed = _Document.model_validate(document)
        except ValidationError as error:
            raise InputError(
                f"a profile has the fields edgekit writes, {path} has not: "
                f"{first_problem(error)}; profile again into another folder"
            ) from error
        if parsed.facts.fingerprint != parsed.fingerprint:
            raise InputError(
                f"the fingerprint of a profile must be that of its facts, {path} was altered; "
                "profile again into another folder"
            )
        predictor = KernelPredictor.from_json(parsed.predictor)
        return cls(
            parsed.target,
            parsed.facts,
            parsed.reference_fast_s,
            predictor,
            parsed.validation,
            parsed.provenance,
        )

    def check_current(self, target: Target) -> None:
        """Refuse a profile of another machine, runtime, provider or thread count.

        Raises:
            InputError: names what differs.
        """
        now = probe(target)
        if now.fingerprint == self.facts.fingerprint:
            return
        names = ("cpu_model", "isa", "n_cores", "ort_version", "provider", "n_threads",
                 "max_frequency_hz", "governor")  # fmt: skip
        changes = [
            f"{name} was {getattr(self.facts, name)!r} and is {getattr(now, name)!r}"
            for name in names
            if getattr(self.facts, name) != getattr(now, name)
        ]
        raise InputError(
            f"a profile holds for the machine and runtime it was made on, "
            f"here {'; '.join(changes)}; "
            f"run: edgekit profile '{target.text}'"
        )


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid")
    kind: str
    schema_version: int
    target: str
    fingerprint: str
    facts: DeviceFacts
    reference_fast_s: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...]
    provenance: Provenance
    validation: Validation
    predictor: dict[str, object]


def profile_device(
    target: Target,
    folder: Path,
    *,
    quick: bool = False,
    seed: int = 0,
    progress: Progress = QUIET,
    plan: Plan | None = None,
) -> DeviceProfile:
    """Profile a device and write the result into a folder.

    Args:
        target: this machine and its thread count.
        folder: where ``profile.json`` and ``measurements.parquet`` are written; made if absent.
        quick: fewer networks and passes.
        seed: of plan, order and fit.
        progress: how progress is shown.
        plan: what to time; the full or quick plan if None.

    Returns:
        The profile, as ``DeviceProfile.load(folder)`` would give it.

    Raises:
        TooNoisy: the labels did not repeat within 10 % in the median.
        InputError: the provider is emulated here, or hides the kernels it runs.
    """
    _check_provider(provider_named(target.ep))
    kind = "custom" if plan is not None else "quick" if quick else "full"
    plan = plan or (quick_plan(seed) if quick else full_plan(seed))
    session = Session.begin(target)
    sources = [Source(n.name, n.family, n.precision, n.model) for n in plan.networks]
    samples, blocks = take_samples(
        sources,
        target,
        n_passes=plan.n_passes,
        block_s=plan.block_s,
        n_profiled_runs=plan.n_profiled_runs,
        seed=seed,
        progress=progress,
        max_noise=MAX_NOISE,
    )
    fitted, held_out = _parted(samples, plan.networks)
    predictor = fit_predictor(fitted, seed=seed)
    return session.written(
        folder,
        predictor,
        validate(predictor, held_out),
        blocks,
        plan=kind,
        seed=seed,
        n_networks=len(samples),
        n_passes=plan.n_passes,
    )


@dataclass(frozen=True, slots=True)
class Session:
    """One profiling from its beginning, and how it ends in a folder.

    Attributes:
        target: what is profiled.
        facts: as found at the beginning.
        started: when.
        before: CPU time then.
    """

    target: Target
    facts: DeviceFacts
    started: datetime
    before: CpuTimes

    @classmethod
    def begin(cls, target: Target) -> Session:
        """Look at the device and at the clock."""
        return cls(target, probe(target), datetime.now(UTC), CpuTimes.now())

    def written(
        self,
        folder: Path,
        predictor: KernelPredictor,
        validation: Validation,
        blocks: Sequence[RawBlock],
        *,
        plan: str,
        seed: int,
        n_networks: int,
        n_passes: int,
        known: tuple[str, ...] = (),
    ) -> DeviceProfile:
        """Write ``profile.json`` and ``measurements.parquet``; arguments as in ``Provenance``."""
        reference_s = np.array([block.reference_s for block in blocks])
        slow = slowdown(reference_s)
        provenance = Provenance(
            plan=plan,
            seed=seed,
            n_networks=n_networks,
            n_passes=n_passes,
            n_discarded=N_DISCARDED,
            n_blocks=len(blocks),
            n_blocks_marked=sum(block.marked for block in blocks),
            n_runs=sum(block.durations_s.size for block in blocks),
            load_1min=load_1min(),
            steal_share=CpuTimes.now().steal_share_since(self.before),
            reference_ratio=float(slow.max() / slow.min()),
            duration_s=(datetime.now(UTC) - self.started).total_seconds(),
            measured_at=self.started.isoformat(timespec="seconds"),
            revision=git_revision() or "",
            versions=tuple(versions().items()),
            known=known,
        )
        profile = DeviceProfile(
            self.target.text,
            self.facts,
            tuple(fast_state_s(reference_s).tolist()),
            predictor,
            validation,
            provenance,
        )
        write_measurements(folder / MEASUREMENTS_FILE, blocks)
        profile.save(folder)
        return profile


def _check_provider(provider: Provider) -> None:
    refuse_emulated(provider)
    if provider.name != CPU_PROVIDER:
        why = "hides its own" if provider.hides_nodes else "runs others"
        raise InputError(
            f"a profile is made of kernels that the CPU provider shows, {provider.short} {why}; "
            "profile the CPU provider, then this one with --from and the folder of that profile"
        )


def refuse_emulated(provider: Provider) -> None:
    """Times of an emulator say nothing about the device.

    Raises:
        InputError: the provider is emulated here.
    """
    if provider.is_emulated:
        raise InputError(
            f"a profile needs times of the device itself, {provider.short} only emulates it here; "
            "profile on the device"
        )


def _parted(
    samples: Sequence[NetworkSample], networks: Sequence[PlannedNetwork]
) -> tuple[list[NetworkSample], list[NetworkSample]]:
    """Samples to fit, and those held out."""
    held_out = {network.name for network in networks if network.held_out}
    return (
        [sample for sample in samples if sample.name not in held_out],
        [sample for sample in samples if sample.name in held_out],
    )


def write_measurements(path: Path, blocks: Sequence[RawBlock]) -> None:
    """Write a row per block: model, start and durations in seconds, reference kernels, mark."""
    table = pa.table(
        {
            "model": [block.model for block in blocks],
            "started_s": [block.started_s for block in blocks],
            "durations_s": [block.durations_s for block in blocks],
            "reference_s": [list(block.reference_s) for block in blocks],
            "marked": [block.marked for block in blocks],
        }
    )
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd")
    write_bytes_atomic(path, buffer.getvalue().to_pybytes())
