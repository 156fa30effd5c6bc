"""Processes that judge candidates side by side, while what is found is used in the order asked.

ahead --> queue --> workers --> found --> judged
            ^---- died ----'
"""

from __future__ import annotations

import contextlib
import multiprocessing
import pickle
import signal
import sys
import time
import traceback
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Protocol

import psutil

from edgekit.core.candidate import Candidate
from edgekit.core.errors import EvaluationFailed, InputError
from edgekit.core.progress import Progress
from edgekit.search.evaluate import Alone, Crew, Judge, Judged

_MOST_LOST = 3
_JOIN_S, _HALT_S = 5.0, 5.0
_HALTED = (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)


@dataclass(frozen=True, slots=True)
class Refused:
    """A candidate has no figures, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Broken:
    """The worker met an error that is not the candidate's, with its traceback."""

    trace: str


Found = Judged | Refused | Broken


class WorkerLost(Exception):
    """A worker died while it judged."""


class Worker(Protocol):
    """Judges one candidate at a time, somewhere else.

    Attributes:
        pid: process on this machine that is halted while latency is measured; None where it is on
            another one.
    """

    pid: int | None

    def give(self, candidate: Candidate) -> None:
        """Let it begin with a candidate."""

    def take(self) -> Found:
        """What it found; raises WorkerLost where it died."""

    def close(self) -> None:
        """End it, whatever it does."""


class Source(Protocol):
    """Where workers come from."""

    def start(self) -> Worker:
        """A new one."""

    def ready(self, busy: Sequence[Worker]) -> list[Worker]:
        """Wait until some are done or dead: those."""


def judge_one(judge: Judge, candidate: Candidate) -> Found:
    """What a worker does; every error becomes a value."""
    try:
        return judge(candidate)
    except EvaluationFailed as error:
        return Refused(str(error))
    except Exception:
        return Broken(traceback.format_exc())


class Workers:
    """A ``Crew`` of several.

    What they find does not depend on how many there are: each uses one thread. The candidates of
    one architecture are judged one after the other, because they share the weights that are kept
    of it. When a worker dies, another begins its candidate again, three times at most.

    Args:
        source: where they come from.
        n: how many, above 0.
        n_architecture: genes that tell architectures apart.
    """

    def __init__(self, source: Source, n: int, n_architecture: int) -> None:
        self._source, self._n, self._n_architecture = source, n, n_architecture
        self._queue: deque[Candidate] = deque()
        self._busy: dict[Candidate, Worker] = {}
        self._idle: list[Worker] = []
        self._found: dict[Candidate, Found] = {}
        self._lost: Counter[Candidate] = Counter()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in (*self._idle, *self._busy.values()):
            worker.close()

    def ahead(self, candidates: Sequence[Candidate]) -> None:
        """Queue candidates that nobody has begun."""
        known = {*self._queue, *self._busy, *self._found}
        self._queue.extend(c for c in candidates if c not in known)
        self._hand_out()

    def judged(self, candidate: Candidate) -> Judged:
        """See ``Crew``."""
        self.ahead([candidate])
        while candidate not in self._found:
            self._collect()
        found = self._found.pop(candidate)
        if isinstance(found, Refused):
            raise EvaluationFailed(found.reason)
        if isinstance(found, Broken):
            raise RuntimeError(f"a worker met this with {candidate.text}:\n{found.trace}")
        return found

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Halt the processes of this machine, and let them go on."""
        halted = [
            psutil.Process(worker.pid)
            for worker in self._busy.values()
            if worker.pid is not None and psutil.pid_exists(worker.pid)
        ]
        for process in halted:
            _halt(process)
        try:
            yield
        finally:
            for process in halted:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.resume()

    def _hand_out(self) -> None:
        for candidate in list(self._queue):
            if len(self._busy) >= self._n:
                return
            begun = {self._architecture(c) for c in self._busy}
            if self._architecture(candidate) in begun:
                continue
            worker = self._idle.pop() if self._idle else self._source.start()
            self._queue.remove(candidate)
            self._busy[candidate] = worker
            worker.give(candidate)

    def _architecture(self, candidate: Candidate) -> tuple[int, ...]:
        return candidate.genes[: self._n_architecture]

    def _collect(self) -> None:
        ready = self._source.ready(list(self._busy.values()))
        for candidate in [c for c, worker in self._busy.items() if worker in ready]:
            worker = self._busy.pop(candidate)
            try:
                self._found[candidate] = worker.take()
                self._idle.append(worker)
            except WorkerLost as error:
                worker.close()
                self._lost[candidate] += 1
                if self._lost[candidate] < _MOST_LOST:
                    self._queue.appendleft(candidate)
                else:
                    self._found[candidate] = Refused(
                        f"a worker must survive a candidate, {_MOST_LOST} died of "
                        f"{candidate.text}: {error}; give fewer workers where memory is short"
                    )
        self._hand_out()


class Processes:
    """Workers on this machine. A script that starts them needs ``if __name__ == "__main__":``.

    Args:
        judge: sent to each of them.
    """

    def __init__(self, judge: Judge) -> None:
        self._judge = pickle.dumps(judge)

    def start(self) -> Worker:
        """See ``Source``."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_work, args=(theirs,), daemon=True)
        process.start()
        theirs.close()
        with contextlib.suppress(OSError):  # it died: seen where its answer is taken
            ours.send_bytes(self._judge)
        return _Process(process, ours)

    def ready(self, busy: Sequence[Worker]) -> list[Worker]:
        """See ``Source``."""
        own = [worker for worker in busy if isinstance(worker, _Process)]
        done = set(wait([signal for worker in own for signal in worker.signals]))
        return [worker for worker in own if done.intersection(worker.signals)]


def _halt(process: psutil.Process) -> None:
    """Returns when it does nothing any more."""
    with contextlib.suppress(psutil.NoSuchProcess):
        process.suspend()
        end = time.monotonic() + _HALT_S
        while process.status() not in _HALTED and time.monotonic() < end:
            time.sleep(0.001)


@dataclass(eq=False, slots=True)
class _Process:
    process: BaseProcess
    connection: Connection
    pid: int | None = field(init=False)

    def __post_init__(self) -> None:
        self.pid = self.process.pid

    @property
    def signals(self) -> tuple[Connection, int]:
        return self.connection, self.process.sentinel

    def give(self, candidate: Candidate) -> None:
        with contextlib.suppress(OSError):  # it died: seen where its answer is taken
            self.connection.send(candidate)

    def take(self) -> Found:
        try:
            if self.connection.poll():
                found: Found = self.connection.recv()
                return found
        except (EOFError, OSError):
            pass
        self.process.join(_JOIN_S)
        raise WorkerLost(f"exit code {self.process.exitcode}")

    def close(self) -> None:
        self.process.kill()
        self.process.join()
        self.connection.close()


def _work(connection: Connection) -> None:
    """The life of a worker: ends with the process that started it."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # that process ends it
    _die_with_parent()
    torch.set_num_threads(1)
    with contextlib.suppress(EOFError, OSError):
        judge: Judge = pickle.loads(connection.recv_bytes())  # from the process that began it
        while True:
            connection.send(judge_one(judge, connection.recv()))


def _die_with_parent() -> None:
    """On Linux also a halted process ends when the one that would let it go on is killed."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class Staff:
    """Who trains and judges; what is found does not depend on how many workers there are.

    Attributes:
        n_workers: processes of one thread each; 0 for none but this one, with all its threads.
        ray: address of a Ray cluster they are on, as ``RayCluster`` takes it; empty for here.
        n_trainers: processes that train shared weights together, each on its share of a batch and
            with its share of the threads; 1 for this one. Sums are rounded in another order, so
            the weights are not those of one process.

    Raises:
        InputError: a number out of its range, or a cluster without workers.
    """

    n_workers: int = 0
    ray: str = ""
    n_trainers: int = 1

    def __post_init__(self) -> None:
        if self.n_workers < 0:
            raise InputError(f"workers are counted from 0, got {self.n_workers}")
        if self.n_trainers < 1:
            raise InputError(f"at least one process trains, got {self.n_trainers}")
        if self.ray and not self.n_workers:
            raise InputError(
                f"a cluster needs workers, got {self.ray} with 0; say how many (--workers)"
            )

    def check(self, batch_size: int) -> None:
        """Refuse before any work what could not be done after it.

        Args:
            batch_size: images of a batch that trainers share.

        Raises:
            InputError: they cannot share it evenly, or the cluster does not answer.
            MissingExtra: a cluster, and Ray is not installed.
        """
        if batch_size % self.n_trainers:
            raise InputError(
                f"a batch of {batch_size} is shared evenly among the processes that train, got "
                f"{self.n_trainers}; take a divisor of it (--trainers)"
            )
        if self.ray:
            from edgekit.search.ray_workers import connected

            connected(self.ray)

    @contextmanager
    def at_work(self, judge: Judge, n_architecture: int, progress: Progress) -> Iterator[Crew]:
        """They begin when something is asked of them, and end with the block."""
        if not self.n_workers:
            yield Alone(judge, progress)
            return
        with Workers(self._source(judge), self.n_workers, n_architecture) as workers:
            yield workers

    def _source(self, judge: Judge) -> Source:
        if not self.ray:
            return Processes(judge)
        from edgekit.search.ray_workers import RayCluster

        return RayCluster(judge, self.ray)
