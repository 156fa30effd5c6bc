"""Workers are real processes, of this machine and of a Ray cluster on it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from edgekit.core.candidate import Candidate
from edgekit.core.errors import EvaluationFailed, InputError
from edgekit.core.limits import Limits
from edgekit.core.progress import Progress
from edgekit.core.task import Task
from edgekit.search.costs import CostTable
from edgekit.search.evaluate import Judge
from edgekit.search.mbconv.networks import MBConvNetworks
from edgekit.search.mbconv.space import MBConvSpace
from edgekit.search.protocol.loop import search
from edgekit.search.protocol.problem import Values
from edgekit.search.run import problem_of
from edgekit.search.strategies import strategy_named
from edgekit.search.workers import Processes, Staff, Workers
from edgekit.training.loop import TrainRecipe

pytestmark = pytest.mark.timeout(600)
QUERY = TrainRecipe(n_epochs=2, batch_size=32, learning_rate=0.1, mirror=False)
FP32, INT8 = Candidate((3, 6, 1, 0, 0, 0, 0, 0, 0, 0)), Candidate((3, 6, 1, 0, 1, 1, 0, 1, 1, 1))
OTHER = Candidate((1, 1, 1, 1, 0, 0, 0, 0, 0, 0))


@pytest.fixture
def judge(space: MBConvSpace, small_task: Task, tmp_path: Path) -> Judge:
    """Trains each candidate alone."""
    networks = MBConvNetworks(space)
    networks.net = None
    return Judge(networks, small_task, tmp_path, 127, QUERY)


def own_children() -> list[psutil.Process]:
    """Workers, without the process that tracks resources for multiprocessing."""
    own = psutil.Process().children(recursive=True)
    return [p for p in own if "spawn_main" in " ".join(p.cmdline())]


def trials(
    judge: Judge, table: CostTable, n_workers: int
) -> list[tuple[Candidate, Values | None]]:
    """What a search with NSGA-II finds, its latency left out: that is noise."""
    staff = Staff(n_workers)
    with staff.at_work(judge, judge.networks.space.n_architecture, Progress(quiet=True)) as crew:

        def evaluate(candidate: Candidate) -> Values:
            found = crew.judged(candidate)
            return 1 - found.accuracy.top1, 1e-3, float(found.model.ByteSize())

        problem = problem_of(
            judge.networks.space, table, Limits(), evaluate, n_evaluations=8, population=4, seed=0
        )
        history = list(search(replace(problem, ahead=crew.ahead), strategy_named("nsga2")))
    return [(entry.candidate, entry.values) for entry in history]


def test_one_worker_and_two_give_the_same_trials(
    judge: Judge, table: CostTable, tmp_path: Path
) -> None:
    found = []
    for n in (1, 2):
        (tmp_path / str(n)).mkdir()
        found.append(trials(replace(judge, folder=tmp_path / str(n)), table, n))
    assert found[0] == found[1]
    assert len(found[0]) == 8
    assert len({values for _, values in found[0]}) > 4
    assert own_children() == []


def test_what_a_killed_worker_did_is_done_by_another(judge: Judge, tmp_path: Path) -> None:
    with Workers(Processes(judge), 2, judge.networks.space.n_architecture) as workers:
        workers.ahead([FP32, OTHER])
        first, *_ = own_children()
        first.send_signal(signal.SIGKILL)
        found = [workers.judged(c).accuracy for c in (FP32, OTHER)]
    (tmp_path / "alone").mkdir()
    with Workers(
        Processes(replace(judge, folder=tmp_path / "alone")),
        1,
        judge.networks.space.n_architecture,
    ) as workers:
        assert [workers.judged(c).accuracy for c in (FP32, OTHER)] == found


def test_a_candidate_that_kills_every_worker_is_given_up(judge: Judge) -> None:
    stop = threading.Event()

    def kill_all() -> None:
        while not stop.wait(0.05):
            for process in own_children():
                process.send_signal(signal.SIGKILL)

    killer = threading.Thread(target=kill_all)
    killer.start()
    try:
        with (
            Workers(Processes(judge), 1, judge.networks.space.n_architecture) as workers,
            pytest.raises(EvaluationFailed, match=r"3 died of .*exit code -9.*fewer workers"),
        ):
            workers.judged(FP32)
    finally:
        stop.set()
        killer.join()


def test_the_same_architecture_is_not_trained_twice_at_once(judge: Judge) -> None:
    with Workers(Processes(judge), 2, judge.networks.space.n_architecture) as workers:
        workers.ahead([FP32, INT8])
        assert len(own_children()) == 1
        assert workers.judged(INT8).model.ByteSize() < workers.judged(FP32).model.ByteSize()
    assert len(list(judge.folder.glob("finetuned-*.safetensors"))) == 1


def test_workers_are_halted_while_something_is_measured(judge: Judge) -> None:
    with Workers(Processes(judge), 1, judge.networks.space.n_architecture) as workers:
        workers.ahead([FP32])
        (worker,) = own_children()
        with workers.paused():
            assert worker.status() == psutil.STATUS_STOPPED
        assert worker.status() != psutil.STATUS_STOPPED
        assert workers.judged(FP32).accuracy.n_images == 64


def test_an_error_of_the_code_is_shown_with_its_traceback(judge: Judge) -> None:
    with (
        Workers(Processes(replace(judge, folder=Path("/dev/null"))), 1, 4) as workers,
        pytest.raises(RuntimeError, match=r"(?s)a worker met this with .*Traceback.*Error"),
    ):
        workers.judged(FP32)


@pytest.fixture
def ray_cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A cluster on this machine, its workers as eager as others; ended afterwards."""
    ray = pytest.importorskip("ray", reason="needs the package ray")
    monkeypatch.setenv("RAY_worker_niceness", "0")
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


def test_workers_of_a_ray_cluster_find_the_same(
    judge: Judge, tmp_path: Path, ray_cluster: None
) -> None:
    from edgekit.search.ray_workers import RayCluster

    source = RayCluster(replace(judge, folder=tmp_path / "elsewhere"), "auto")
    with Workers(source, 2, judge.networks.space.n_architecture) as workers:
        workers.ahead([FP32, OTHER])
        pids = [worker.pid for worker in workers._busy.values()]
        assert None not in pids
        with workers.paused():
            assert {psutil.Process(pid).status() for pid in pids} == {psutil.STATUS_STOPPED}
        os.kill(pids[0] or 0, signal.SIGKILL)
        found = [workers.judged(c).accuracy for c in (FP32, OTHER)]
    with Workers(Processes(judge), 1, judge.networks.space.n_architecture) as workers:
        assert [workers.judged(c).accuracy for c in (FP32, OTHER)] == found


def test_a_cluster_that_is_not_there_is_refused(judge: Judge) -> None:
    pytest.importorskip("ray", reason="needs the package ray")
    from edgekit.search.ray_workers import RayCluster

    with pytest.raises(InputError, match=r"must answer at its address.*ray start --head"):
        RayCluster(judge, "127.0.0.1:1")


def test_a_staff_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(InputError, match=r"counted from 0, got -1"):
        Staff(-1)
    with pytest.raises(InputError, match=r"got auto with 0; say how many"):
        Staff(0, "auto")


def test_genes_of_the_tests_are_those_of_the_space(space: MBConvSpace) -> None:
    for candidate in (FP32, INT8, OTHER):
        genes = np.array([candidate.genes])
        assert (space.canonical(genes) == genes).all()
