"""Workers on the machines of a Ray cluster."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import pickle
import socket
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgekit.core.candidate import Candidate
from edgekit.core.errors import InputError, MissingExtra
from edgekit.search.evaluate import Judge
from edgekit.search.workers import Found, Worker, WorkerLost, judge_one

_START_S, _CONNECT_S = 300, 5


class RayCluster:
    """Where workers of a cluster come from, one CPU each; see ``workers.Source``.

    Those on this machine are halted while latency is measured, those on others go on. The other
    machines need the same versions of edgekit and of what it depends on.

    Args:
        judge: put into the store of the cluster once.
        address: ``"auto"`` for the cluster that runs here, ``"ray://HOST:PORT"`` for another, or
            ``"local"`` to start one on this machine.

    Raises:
        MissingExtra: Ray is not installed.
        InputError: there is no such cluster.
    """

    def __init__(self, judge: Judge, address: str) -> None:
        self._ray = ray = connected(address)
        self._judge = ray.put(pickle.dumps(judge))
        self._actor = ray.remote(num_cpus=1, max_restarts=0)(_Actor)
        self._here = ray.get_runtime_context().get_node_id()

    def start(self) -> Worker:
        """See ``Source``."""
        actor = self._actor.remote(self._judge)
        return _OfRay(self._ray, actor, self._here)

    def ready(self, busy: Sequence[Worker]) -> list[Worker]:
        """See ``Source``."""
        by_ref = {w.answer: w for w in busy if isinstance(w, _OfRay)}
        done, _ = self._ray.wait(list(by_ref), num_returns=1)
        return [by_ref[ref] for ref in done]


def connected(address: str) -> Any:
    """The module ``ray``, connected to a cluster; see ``RayCluster``."""
    if importlib.util.find_spec("ray") is None:
        raise MissingExtra(
            "a cluster needs Ray, it is not installed; run: pip install 'edgekit[ray]'"
        )
    import ray

    if ray.is_initialized():
        return ray
    try:
        host, _, port = address.removeprefix("ray://").rpartition(":")
        if host:  # Ray itself would wait for a minute and more, and then end the process
            socket.create_connection((host, int(port)), timeout=_CONNECT_S).close()
        ray.init(
            address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR
        )
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(
            f"a Ray cluster must answer at its address, {address!r} does not: {error}; start one "
            "with: ray start --head"
        ) from error
    return ray


class _Actor:
    """Lives in a process of the cluster."""

    def __init__(self, sent: bytes) -> None:
        import torch

        torch.set_num_threads(1)
        judge: Judge = pickle.loads(sent)  # from the process that began it
        if not judge.folder.is_dir():  # on another machine
            judge = replace(judge, folder=Path(tempfile.mkdtemp(prefix="edgekit-")))
        self._judge = judge

    def place(self) -> tuple[str, int]:
        """Its node and process."""
        import ray

        return ray.get_runtime_context().get_node_id(), os.getpid()

    def judge(self, candidate: Candidate) -> Found:
        """See ``judge_one``."""
        return judge_one(self._judge, candidate)


@dataclass(eq=False, slots=True)
class _OfRay:
    ray: Any
    actor: Any
    here: str
    pid: int | None = field(init=False, default=None)
    answer: Any = field(init=False, default=None)

    def __post_init__(self) -> None:
        try:
            node, pid = self.ray.get(self.actor.place.remote(), timeout=_START_S)
        except self.ray.exceptions.GetTimeoutError as error:
            raise InputError(
                f"a cluster needs a free CPU for each worker, none began within {_START_S} s; "
                "give fewer (--workers)"
            ) from error
        except self.ray.exceptions.RayError:
            return  # it died: seen where its answer is taken
        self.pid = pid if node == self.here else None

    def give(self, candidate: Candidate) -> None:
        self.answer = self.actor.judge.remote(candidate)

    def take(self) -> Found:
        try:
            found: Found = self.ray.get(self.answer)
        except self.ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise WorkerLost(reason[0]) from error
        return found

    def close(self) -> None:
        with contextlib.suppress(self.ray.exceptions.RayError):
            self.ray.kill(self.actor)
