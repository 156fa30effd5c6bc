"""Report values with hostile texts in every place a user's data can reach."""

from __future__ import annotations

from edgekit.core.figures import Conditions, Measured, MeasuredAccuracy, Predicted
from edgekit.core.limits import Limits
from edgekit.report.values import (
    Attempt,
    BaselineRow,
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
    ValidationRow,
    VerifyReport,
)

EVIL = "</title><script>document.title = 'ran'</script><img src=x onerror=alert(1)>"
N_MEASURED, N_PREDICTED = 12, 30
NAN = float("nan")

CONDITIONS = Conditions("CPUExecutionProvider", 2, 20, 900, 18, 1, 0.5, NAN, 1.04, "2026-01-01")
FACTS = (("CPU", "a processor & co"), ("cores", "2"))
PROVENANCE = (("seed", "0"), ("fingerprint", "f00d"))
FILES = (FileRow("model.onnx", 812_345, "ab" * 32), FileRow(f"{EVIL}.json", 120, "cd" * 32))
DATA = DataSummary("flowers", ("rose", EVIL), 800, 100, 64, 200, 2, (EVIL, "bad\udcff.jpg"))
BLOCKS = (
    BlockRow("stem", "Conv k3, 3 -> 16", "fp32", 2e-4, 1.9e-4, 1, "CPUExecutionProvider"),
    BlockRow("blocks.0", "skip", "", 0.0, 0.0, 0, ""),
    BlockRow("blocks.1", EVIL, "int8", 6e-4, 7e-4, 3, "CPUExecutionProvider", "a note"),
)


def latency(p50_s: float) -> Measured:
    interval = (0.98 * p50_s, 1.03 * p50_s)
    return Measured(0.95 * p50_s, p50_s, 1.1 * p50_s, 1.3 * p50_s, interval, CONDITIONS)


def front() -> tuple[FrontPoint, ...]:
    measured = [
        FrontPoint(f"{i}-0", 0.8 + 0.005 * i, 1e-3 + 1e-4 * i, 500_000, "measured", i == 4)
        for i in range(N_MEASURED)
    ]
    predicted = [
        FrontPoint(f"{i}-1", 0.79 + 0.002 * i, 1e-3 + 4e-5 * i, 500_000, "predicted")
        for i in range(N_PREDICTED)
    ]
    baseline = FrontPoint(EVIL, 0.83, 1.6e-3, 900_000, "measured", baseline=True)
    return (*measured, *predicted, baseline)


CHOSEN = ChosenRow(
    "4-0",
    MeasuredAccuracy(164, 200, "test"),
    MeasuredAccuracy(82, 100, "validation"),
    latency(1.4e-3),
    812_345,
    17_654_321,
    0.5,
    (ParityRow("torch and ONNX", 1e-5, "at most 1e-4", True),),
)
LIMITS = Limits(1.5e-3, 1_000_000)
LIMIT_ROWS = (
    LimitRow("latency", 1.5e-3, 1.4e-3, True),
    LimitRow("size", 1_000_000, 812_345, True),
    LimitRow("memory", 20_000_000, 17_654_321, True),
)
VALIDATION = (
    ValidationRow("predictor", 60, 0.021, 0.98, 0.97, 0.91),
    ValidationRow("line through MACs", 60, 0.19, 0.3, 0.85, NAN),
)

FIT = FitReport(
    title=f"flowers {EVIL}",
    created_at="2026-01-01T00:00:00Z",
    data=DATA,
    facts=FACTS,
    limits=LIMITS,
    limit_rows=LIMIT_ROWS,
    chosen=CHOSEN,
    front=front(),
    blocks=BLOCKS,
    conditions=CONDITIONS,
    command="edgekit fit mbconv --data 'a <b> folder' --max-latency 1.5ms",
    provenance=PROVENANCE,
    files=FILES,
    baselines=(BaselineRow(EVIL, MeasuredAccuracy(160, 200, "test"), latency(1.6e-3), 900_000),),
    finalists=(
        FinalistRow(
            "5-0",
            MeasuredAccuracy(101, 200, "validation"),
            MeasuredAccuracy(157, 200, "validation"),
            latency(1.4e-3),
        ),
    ),
    attempts=(
        Attempt("5-0", Predicted(1.45e-3, (1.4e-3, 1.5e-3)), latency(1.58e-3), "breaks latency"),
    ),
    validation=VALIDATION,
    hypervolumes=(0.0, 0.12, 0.2, 0.2, 0.31),
)
VERIFY = VerifyReport(
    title="verify flowers",
    created_at="2026-01-01T00:00:00Z",
    data=DATA,
    facts=FACTS,
    limits=LIMITS,
    limit_rows=(LimitRow("latency", 1.5e-3, 1.6e-3, False), LIMIT_ROWS[1]),
    chosen=CHOSEN,
    blocks=BLOCKS,
    conditions=CONDITIONS,
    command="edgekit verify bundle",
    provenance=PROVENANCE,
    files=FILES,
)
HELD_OUT = tuple(
    HeldOut(f"net {i}", EVIL if i % 2 else "resnet", 1.04e-3 * (i + 1), 1e-3 * (i + 1))
    for i in range(9)
)
PROFILE = ProfileReport(
    title="profile of local",
    created_at="2026-01-01T00:00:00Z",
    facts=FACTS,
    validation=VALIDATION,
    floor=ValidationRow("floor", 60, 0.012, 1.0, 0.99, NAN),
    families=(ValidationRow(EVIL, 4, 0.04, 1.0, 1.0, 1.0),),
    held_out=HELD_OUT,
    conditions=CONDITIONS,
    command="edgekit profile local",
    provenance=PROVENANCE,
)

SPLIT = SplitReport(
    f"edgekit split: {EVIL}",
    "2026-01-01T00:00:00Z",
    DATA,
    FACTS,
    tuple(
        SplitRow(
            price,
            MeasuredAccuracy(n_correct, 200, "test"),
            payload_bytes,
            int(2 * payload_bytes),
            latency(2e-5),
            latency(2e-3),
            1e-4,
            2e-4,
        )
        for price, n_correct, payload_bytes in ((1e-4, 184, 310.5), (4e-4, 180, 190.2))
    ),
    16,
    f"edgekit split '{EVIL}'",
    PROVENANCE,
)
