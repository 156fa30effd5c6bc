"""Whether progress told the truth: the time left that was shown after a fifth of the work, against what it took.

    python -m tests.benchmarks.bench_eta --out eta.json LOG ...

A log is what a long command wrote to stderr where that is no terminal: a line of progress every 15 seconds. A piece of
work counts where it went on from its first step to its last, for two minutes at least. The first line after a fifth is
taken, and its time gone and left together are compared with the time that was gone in the end.
"""  # noqa: E501

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

LINE = re.compile(
    r"(?P<label>.+): (?P<n>\d+)/(?P<total>\d+), (?P<gone>[\d:]+) gone, (?P<left>[\d:]+) left"
)
SHORTEST_S = 120
FIFTH, WITHIN = 0.2, 0.25


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of work.

    Attributes:
        log: where it was read.
        label: what was done.
        foretold_s: gone and left together, after a fifth.
        took_s: gone in the end.
    """

    log: str
    label: str
    foretold_s: int
    took_s: int

    @property
    def error(self) -> float:
        """Relative to what it took."""
        return self.foretold_s / self.took_s - 1


def main() -> None:
    """Print a row for each label, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("logs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    pieces = [piece for log in given.logs for piece in pieces_of(log)]
    for label in sorted({piece.label for piece in pieces}):
        errors = np.array([piece.error for piece in pieces if piece.label == label])
        print(
            f"{label:>40}: {len(errors):3d} times, error of the time told after a fifth: median "
            f"{np.median(errors):+.0%}, from {errors.min():+.0%} to {errors.max():+.0%}, within "
            f"{WITHIN:.0%}: {np.mean(abs(errors) <= WITHIN):.0%}"
        )
    given.out.write_text(json.dumps([asdict(piece) for piece in pieces], indent=1))


def pieces_of(log: Path) -> Iterator[Piece]:
    """Finished pieces in the order they ended."""
    foretold: dict[tuple[str, int], int] = {}
    for line in log.read_text("utf-8", "replace").splitlines():
        found = LINE.fullmatch(line.split(" left")[0] + " left")
        if found is None:
            continue
        key, n = (found["label"], int(found["total"])), int(found["n"])
        gone_s, left_s = seconds(found["gone"]), seconds(found["left"])
        share = n / max(1, key[1])
        if share < FIFTH:
            foretold.pop(key, None)
        elif share < 2 * FIFTH:
            foretold.setdefault(key, gone_s + left_s)
        if share == 1 and key in foretold:
            told_s = foretold.pop(key)
            if gone_s >= SHORTEST_S:
                yield Piece(log.name, key[0], told_s, gone_s)


def seconds(text: str) -> int:
    """Of hours, minutes and seconds.

    Example:
        >>> seconds("1:02:03")
        3723
    """
    total = 0
    for part in text.split(":"):
        total = 60 * total + int(part)
    return total


if __name__ == "__main__":
    main()
