"""A million frames that were changed on the way, and how fast frames are made and read.

    python -m tests.benchmarks.bench_frames --out frames.json [--frames 1000000]

Frames of random symbols under tables of integers, changed in bytes, cut off, added to, drawn whole, half of them with a
checksum that holds again (seeded). Each must be read, and then be exactly what its symbols encode to, or be refused with
FrameError within a second; memory must not grow. Every second frame is of tables with contexts.
"""  # noqa: E501

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path

import numpy as np
import psutil

from edgekit.core.progress import Progress
from edgekit.split import codec
from edgekit.split.codec import FrameError
from tests.split.test_codec import drawn, in_context, mutated, tables

SHAPE = (12, 8, 8)
N_TIMED = 300


def main() -> None:
    """Print counts and rates, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--frames", type=int, default=1_000_000)
    given = parser.parse_args()
    every, rng = (tables(SHAPE), in_context(tables(SHAPE))), np.random.default_rng(0)
    frames = [every[seed % 2].encode(drawn(seed, 1.0, SHAPE)) for seed in range(64)]
    answers: Counter[str] = Counter()
    slowest_s, process, n = 0.0, psutil.Process(), given.frames
    resident: list[int] = []
    with Progress().track(n, "reading changed frames") as update:
        for index in range(n):
            known = every[index % 2]
            frame = mutated(frames[index % len(frames)], known, rng)
            start_s = time.perf_counter()
            try:
                symbols = known.decode(frame)
                assert known.encode(symbols) == frame
                answers["read"] += 1
            except FrameError as error:
                answers[" ".join(str(error).split()[:4])] += 1
            slowest_s = max(slowest_s, time.perf_counter() - start_s)
            if index % (n // 20) == n // 40:
                resident.append(process.memory_info().rss)
                update(index)
    assert slowest_s < 1
    grown = max(resident[2:]) - min(resident[2:])
    row = {"answers": dict(answers), "slowest_s": slowest_s, "grown_bytes": grown}
    row["symbols_per_s"] = _rates()
    given.out.write_text(json.dumps(row, indent=1))
    for name, count in answers.most_common():
        print(f"{count:>9}  {name}")
    print(f"slowest {1e3 * slowest_s:.1f} ms; memory moved by {grown / 1e6:.1f} MB")
    for name, (encode, decode) in row["symbols_per_s"].items():
        print(f"{name}: {encode / 1e6:.2f} million symbols/s encoded, {decode / 1e6:.2f} decoded")


def _rates() -> dict[str, tuple[float, float]]:
    """Symbols per second of both coders, frames and checks included: encode, decode."""
    native, found = codec.constriction, {}
    plain, symbols = tables(SHAPE), [drawn(seed, 1.0, SHAPE) for seed in range(N_TIMED)]
    contexts = in_context(plain)
    for name, module, known in (
        ("constriction", native, plain),
        ("python", None, plain),
        ("constriction, contexts", native, contexts),
        ("python, contexts", None, contexts),
    ):
        codec.constriction = module
        start_s = time.perf_counter()
        frames = [known.encode(one) for one in symbols]
        middle_s = time.perf_counter()
        for frame in frames:
            known.decode(frame)
        n = N_TIMED * symbols[0].size
        found[name] = (n / (middle_s - start_s), n / (time.perf_counter() - middle_s))
    codec.constriction = native
    return found


if __name__ == "__main__":
    main()
