"""What a report is made from: plain values that a stage fills, and the page only shows.

Rows of text pairs are ``(name, value)``. Any text may come from a user's data: it is escaped
when it is shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgekit.core.errors import InputError
from edgekit.core.figures import Conditions, Measured, MeasuredAccuracy, Predicted
from edgekit.core.limits import Limits

TextRows = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class LimitRow:
    """One limit and the measured figure it is about.

    Attributes:
        name: ``"latency"`` or ``"size"``.
        limit: the limit, in seconds or bytes.
        measured: the measured figure, in seconds or bytes.
        met: whether the figure satisfies the limit.
    """

    name: Literal["latency", "size", "memory"]
    limit: float
    measured: float
    met: bool


@dataclass(frozen=True, slots=True)
class ParityRow:
    """How far two forms of the same network are apart.

    Attributes:
        name: what was compared, for example ``"torch and ONNX, largest difference of logits"``.
        value: what was found.
        bound: what is asked for, as text, for example ``"at most 1e-4"``.
        met: whether it was found.
    """

    name: str
    value: float
    bound: str
    met: bool


@dataclass(frozen=True, slots=True)
class ChosenRow:
    """The artifact, every figure of it measured after export.

    Attributes:
        genes: the candidate as text.
        accuracy: of the artifact, on the test split.
        validation_accuracy: of its network on the validation split; None where it was not taken.
        latency: single-image latency on the device.
        size_bytes: size of the model file.
        memory_bytes: what loading and running it adds to a process at its peak; None where that
            is not known.
        int8_share: share of the blocks that run in int8, 0..1.
        parity: comparisons of the artifact with the network it was made from.
    """

    genes: str
    accuracy: MeasuredAccuracy
    validation_accuracy: MeasuredAccuracy | None
    latency: Measured
    size_bytes: int
    memory_bytes: int | None
    int8_share: float
    parity: tuple[ParityRow, ...] = ()


@dataclass(frozen=True, slots=True)
class FrontPoint:
    """One network in the picture of accuracy against latency.

    Attributes:
        name: short name, the genes or what a baseline is.
        top1: accuracy on the validation split, 0..1.
        latency_s: measured p50, or the predicted latency, in seconds.
        size_bytes: size of the model file, or its estimate for a predicted point.
        kind: whether the latency was measured on the device or predicted.
        chosen: whether this is the network of the artifact; only a measured one can be.
        baseline: whether the network stands beside the search for comparison.
        interval_s: interval of the latency in seconds, 95 % if measured, 90 % if predicted; None
            without one.
        memory_bytes: measured peak memory; None where it was not measured.

    Raises:
        InputError: a predicted point that says it was chosen.
    """

    name: str
    top1: float
    latency_s: float
    size_bytes: int
    kind: Literal["measured", "predicted"]
    chosen: bool = False
    baseline: bool = False
    interval_s: tuple[float, float] | None = None
    memory_bytes: int | None = None

    def __post_init__(self) -> None:
        if self.chosen and self.kind != "measured":
            raise InputError(
                f"only a measured point can be chosen, {self.name!r} is {self.kind}; measure it"
            )


@dataclass(frozen=True, slots=True)
class BlockRow:
    """One block of the chosen network.

    Attributes:
        name: name of the block.
        operation: what it does, for example ``"MBConv k5 e3, 24 -> 40, stride 2"``.
        precision: ``"fp32"`` or ``"int8"``; empty for a block without kernels.
        measured_s: its part of the artifact's per-kernel profile, in seconds; None where it was
            not taken.
        predicted_s: what the predictor says, in seconds; None for an operator without a cost.
        n_kernels: kernels the runtime executes for it.
        provider: execution provider that ran them; empty for a block without kernels.
        note: for example ``"int8 not faster here: fp32 kept"``.
    """

    name: str
    operation: str
    precision: str
    measured_s: float | None
    predicted_s: float | None
    n_kernels: int
    provider: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class BaselineRow:
    """A network the artifact is compared with, measured the same way.

    Attributes:
        name: what it is.
        accuracy: on the test split.
        latency: single-image latency on the device.
        size_bytes: size of the model file.
    """

    name: str
    accuracy: MeasuredAccuracy
    latency: Measured
    size_bytes: int


@dataclass(frozen=True, slots=True)
class FinalistRow:
    """A candidate that was trained alone for a little before one was chosen.

    Attributes:
        candidate: its genes as text.
        before: accuracy on the validation split with the shared weights.
        after: the same after its short training.
        latency: single-image latency on the device.
    """

    candidate: str
    before: MeasuredAccuracy
    after: MeasuredAccuracy
    latency: Measured


@dataclass(frozen=True, slots=True)
class Attempt:
    """A candidate that was exported and measured again before the artifact was accepted.

    Attributes:
        candidate: its genes as text.
        predicted: what made it a candidate.
        measured: what the device said.
        verdict: what followed, for example ``"breaks latency; predictions corrected by 1.08"``.
    """

    candidate: str
    predicted: Predicted
    measured: Measured
    verdict: str


@dataclass(frozen=True, slots=True)
class ValidationRow:
    """Error of predictions on networks the predictor was not fitted on.

    Attributes:
        name: what predicted, or for which networks.
        n_networks: networks compared.
        mape: mean absolute error as a share of the measured latency.
        within_10: share of networks with an error of at most 10 %, 0..1.
        kendall_tau: rank correlation, -1..1; ``nan`` where it was not taken.
        coverage: share of networks inside their 90 % interval, 0..1; ``nan`` without intervals.
    """

    name: str
    n_networks: int
    mape: float
    within_10: float
    kendall_tau: float
    coverage: float


@dataclass(frozen=True, slots=True)
class FileRow:
    """A file of the bundle.

    Attributes:
        name: path inside the bundle.
        size_bytes: its size.
        sha256: hex digest of its content.
    """

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class HeldOut:
    """A whole network that was predicted and measured, and not used to fit the predictor.

    Attributes:
        name: name of the network.
        family: kind of network, for example ``"resnet"``.
        predicted_s: predicted latency in seconds.
        measured_s: measured label in seconds.
    """

    name: str
    family: str
    predicted_s: float
    measured_s: float


@dataclass(frozen=True, slots=True)
class DataSummary:
    """The images behind the figures.

    Attributes:
        task_name: name of the data set.
        labels: class names.
        n_train: images trained on.
        n_validation: images the search compared candidates on.
        n_calibration: images that set the scales of int8.
        n_test: images only the final artifact and the baselines saw.
        n_skipped: files that could not be read.
        skipped: the first of their names.
    """

    task_name: str
    labels: tuple[str, ...]
    n_train: int
    n_validation: int
    n_calibration: int
    n_test: int
    n_skipped: int = 0
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FitReport:
    """Everything the page of a ``fit`` shows.

    Attributes:
        title: heading of the page.
        created_at: UTC time, ISO 8601.
        data: the images.
        facts: what was found on the device.
        limits: what was asked for.
        limit_rows: each limit with its measured figure; empty without limits.
        chosen: the artifact.
        front: measured and predicted networks.
        hypervolumes: share of a box, known before the search, that was beaten after each measured
            network.
        blocks: the chosen network in order.
        baselines: networks to compare with.
        conditions: under which the artifact was measured.
        finalists: candidates that were trained alone for a little.
        attempts: candidates that were measured again, in order, the accepted one last.
        validation: error of the predictor.
        command: command line that makes the same page again.
        provenance: versions, seeds, fingerprint.
        files: files of the bundle.
    """

    title: str
    created_at: str
    data: DataSummary
    facts: TextRows
    limits: Limits
    limit_rows: tuple[LimitRow, ...]
    chosen: ChosenRow
    front: tuple[FrontPoint, ...]
    blocks: tuple[BlockRow, ...]
    conditions: Conditions
    command: str
    provenance: TextRows
    files: tuple[FileRow, ...]
    baselines: tuple[BaselineRow, ...] = ()
    finalists: tuple[FinalistRow, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    validation: tuple[ValidationRow, ...] = ()
    hypervolumes: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """Everything the page of a ``verify`` shows: a bundle measured again.

    Attributes:
        title: heading of the page.
        created_at: UTC time, ISO 8601.
        data: the images.
        facts: what was found on the device.
        limits: what was asked for.
        limit_rows: each limit with its measured figure; empty without limits.
        chosen: the artifact as it was measured now.
        blocks: the network in order, with the provider of each block.
        conditions: under which it was measured.
        command: command line that makes the same page again.
        provenance: versions, seeds, fingerprint.
        files: files of the bundle.
    """

    title: str
    created_at: str
    data: DataSummary
    facts: TextRows
    limits: Limits
    limit_rows: tuple[LimitRow, ...]
    chosen: ChosenRow
    blocks: tuple[BlockRow, ...]
    conditions: Conditions
    command: str
    provenance: TextRows
    files: tuple[FileRow, ...]


@dataclass(frozen=True, slots=True)
class ProfileReport:
    """Everything the page of a ``profile`` shows.

    Attributes:
        title: heading of the page.
        created_at: UTC time, ISO 8601.
        facts: what was found on the device.
        validation: error of each predictor over all held-out networks, the one in use first.
        floor: the same figures between two measurements of the same networks; None where they
            were not taken twice.
        families: error of the predictor in use, by family of networks.
        held_out: the networks behind these errors.
        conditions: under which they were measured.
        command: command line that makes the same page again.
        provenance: versions, seeds, fingerprint.
    """

    title: str
    created_at: str
    facts: TextRows
    validation: tuple[ValidationRow, ...]
    floor: ValidationRow | None
    families: tuple[ValidationRow, ...]
    held_out: tuple[HeldOut, ...]
    conditions: Conditions
    command: str
    provenance: TextRows


@dataclass(frozen=True, slots=True)
class SplitRow:
    """A network in two halves, at one price of bits.

    Attributes:
        price: of a bit.
        accuracy: on the test split, by way of real frames.
        payload_bytes: mean of an image.
        largest_payload_bytes: of one image.
        encoder: latency of the device half's network, one image.
        server: the same of the server half's.
        encode_s: median time to make a frame, in seconds.
        decode_s: the same to read one.
    """

    price: float
    accuracy: MeasuredAccuracy
    payload_bytes: float
    largest_payload_bytes: int
    encoder: Measured
    server: Measured
    encode_s: float
    decode_s: float


@dataclass(frozen=True, slots=True)
class SplitReport:
    """Everything the page of a ``split`` shows.

    Attributes:
        title: heading of the page.
        created_at: UTC time, ISO 8601.
        data: the images.
        facts: what was found on the device.
        rows: one for each price, at least one.
        frame_bytes: of a frame around its payload.
        command: command line that makes the same page again.
        provenance: versions and target.
    """

    title: str
    created_at: str
    data: DataSummary
    facts: TextRows
    rows: tuple[SplitRow, ...]
    frame_bytes: int
    command: str
    provenance: TextRows
