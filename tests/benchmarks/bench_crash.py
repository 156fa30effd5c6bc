"""Kill -9 at random moments of a short search, resume each time, compare with one left alone.

    python -m tests.benchmarks.bench_crash --profile build/profile --kills 20 --out crash.json

Without ``--profile`` a quick profile is made first (2 minutes). A search that ends before its kill
is compared and followed by a new one with the next seed. The uninterrupted search is given the
networks that the killed one measured to correct its table, because times never repeat exactly;
everything else it does again.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from edgekit.core.errors import TooNoisy
from edgekit.core.files import write_json
from edgekit.search.evaluated import Evaluated
from edgekit.search.mbconv.costs import BLOCKS_FILE
from edgekit.search.mbconv.space import MBConvSpace
from edgekit.search.networks import WEIGHTS
from edgekit.search.settings import RUN_FILE, read_settings
from edgekit.search.store import DATABASE, TABLE_NETWORKS, Trials
from edgekit.workflow import profile_target

_POLL_S = 0.05


@dataclass(slots=True)
class Kill:
    """One kill, what was there before and after it, and whether the search went on."""

    run: str
    after_s: float
    stage: str
    n_before: int
    n_after: int
    lost: bool
    resumed: bool = False


def n_finished(folder: Path) -> int:
    """Finished trials, read while the search may be writing."""
    if not (folder / DATABASE).is_file():
        return 0
    connection = sqlite3.connect(f"file:{folder / DATABASE}?mode=ro", uri=True)
    try:
        query = "select count(*) from trials where state = 'COMPLETE'"
        return int(connection.execute(query).fetchone()[0])
    except sqlite3.OperationalError:
        return 0
    finally:
        connection.close()


def trials_of(folder: Path) -> list[Evaluated]:
    """Everything measured so far; nobody may be writing."""
    if not n_finished(folder):
        return []
    return Trials(folder, MBConvSpace(read_settings(folder).space)).all()


def stage_of(folder: Path) -> str:
    """What the search was doing, from what lies in its folder."""
    stages = {RUN_FILE: "starting", WEIGHTS: "training", BLOCKS_FILE: "lowering"}
    for name, stage in (stages | {TABLE_NETWORKS: "table"}).items():
        if not (folder / name).is_file():
            return stage
    return "measuring"


class Search:
    """A search as a process of the command line, in a folder of its own."""

    def __init__(self, folder: Path, options: list[str], log: Path) -> None:
        self.folder, self._options, self._log = folder, options, log
        self.n_before = 0

    def start(self) -> subprocess.Popen[bytes]:
        """Begin it, or go on with it."""
        resumes = (self.folder / RUN_FILE).is_file()
        verb = (
            ["resume", str(self.folder)]
            if resumes
            else ["search", *self._options, "--out", str(self.folder)]
        )
        command = [sys.executable, "-c", "from edgekit.cli import main; main()", *verb]
        with self._log.open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def run(self, seconds: float = math.inf) -> int | None:
        """Exit code, or None where it was killed after so many seconds."""
        process = self.start()
        end = time.monotonic() + seconds
        while process.poll() is None and time.monotonic() < end:
            time.sleep(_POLL_S)
        if process.poll() is not None:
            return process.returncode
        self.n_before = n_finished(self.folder)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return None

    def finish(self) -> None:
        """Run to the end, again where the machine was too noisy."""
        while code := self.run():
            self.check(code)

    def check(self, code: int) -> None:
        """Give up where the search stopped for another reason than noise."""
        if code not in (0, TooNoisy.exit_code):
            sys.exit(f"the search stopped with exit code {code}, see {self._log}")


def killed(search: Search, moments: random.Random, n_most: int, longest_s: float) -> list[Kill]:
    """Kill a search at random moments, at most so often, until it gets to its end."""
    kills: list[Kill] = []
    known: list[Evaluated] = []
    while len(kills) < n_most:
        after_s = moments.uniform(0, longest_s)
        code = search.run(after_s)
        if kills:
            kills[-1].resumed = code in (None, 0, TooNoisy.exit_code)
        if code is not None:
            search.check(code)
            if code == 0:
                break
            continue
        kept = trials_of(search.folder)
        lost = kept[: len(known)] != known or len(kept) < search.n_before
        stage, name = stage_of(search.folder), search.folder.name
        kills.append(Kill(name, after_s, stage, search.n_before, len(kept), lost))
        known = kept
        print(
            f"{name} killed after {after_s:4.1f} s while {stage:9}: {search.n_before:2} trials "
            f"before, {len(kept):2} after{', LOST' if lost else ''}",
            flush=True,
        )
    return kills


def compared(search: Search, options: list[str], log: Path) -> dict[str, object]:
    """The finished search beside one that was not interrupted."""
    whole = Search(search.folder.with_name(f"{search.folder.name}-whole"), options, log)
    whole.folder.mkdir(parents=True)
    shutil.copy(search.folder / TABLE_NETWORKS, whole.folder / TABLE_NETWORKS)
    whole.finish()
    ours, theirs = trials_of(search.folder), trials_of(whole.folder)
    weights = [(folder / WEIGHTS).read_bytes() for folder in (search.folder, whole.folder)]
    return {
        "run": search.folder.name,
        "n_trials": len(ours),
        "same_candidates_in_order": [e.candidate for e in ours] == [e.candidate for e in theirs],
        "same_accuracies": [e.accuracy for e in ours] == [e.accuracy for e in theirs],
        "same_supernet": weights[0] == weights[1],
    }


def main() -> None:
    """Kill, resume, compare, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--profile", type=Path, help="folder of a device profile")
    parser.add_argument("--work", type=Path, default=Path("build/bench/crash"), help="emptied")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--longest-s", type=float, default=45.0, help="latest moment of a kill")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--evaluations", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--out", type=Path, default=Path("build/bench/crash.json"))
    arguments = parser.parse_args()
    shutil.rmtree(arguments.work, ignore_errors=True)
    arguments.work.mkdir(parents=True)
    profile = arguments.profile or arguments.work.parent / "profile"
    if not arguments.profile:
        profile_target("local", profile, quick=True)
    moments, log = random.Random(arguments.seed), arguments.work / "log"
    kills: list[Kill] = []
    runs: list[dict[str, object]] = []
    while len(kills) < arguments.kills:
        folder = arguments.work / f"run{len(runs)}"
        options = ["mbconv", "--data", "digits", "--profile", str(profile), "--quick"]
        options += ["--epochs", str(arguments.epochs), "--seed", str(len(runs))]
        options += ["--evaluations", str(arguments.evaluations)]
        search = Search(folder, options, log)
        n_left = arguments.kills - len(kills)
        own = killed(search, moments, n_left, arguments.longest_s)
        code = search.run()
        if own and not own[-1].resumed:
            own[-1].resumed = code in (0, TooNoisy.exit_code)
        search.finish()
        kills += own
        runs.append(compared(search, options, log))
        print(f"{folder.name} beside one left alone: {runs[-1]}", flush=True)
    n_lost, n_resumed = sum(kill.lost for kill in kills), sum(kill.resumed for kill in kills)
    print(f"{len(kills)} kills: {n_lost} lost a finished trial, {n_resumed} were resumed")
    written = {"kills": [asdict(kill) for kill in kills], "runs": runs}
    write_json(arguments.out, "bench-crash", 1, written)


if __name__ == "__main__":
    main()
