"""The networks of a module: trained, exported, judged in the runtime."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from edgekit.core.candidate import Candidate
from edgekit.core.precision import Precision
from edgekit.core.progress import Progress
from edgekit.core.task import Task
from edgekit.devices.networks.lowering import lower
from edgekit.devices.predicting.predictor import KernelPredictor
from edgekit.search.elastic.kernels import ElasticKernels
from edgekit.search.elastic.networks import ElasticNetworks
from edgekit.search.elastic.space import ElasticSpace
from edgekit.search.networks import WEIGHTS
from edgekit.search.space import int8_blocks, uniform_precision
from edgekit.spaces import networks_of, space
from edgekit.training.loop import TrainRecipe
from tests.search.elastic.nets import Basic

QUIET = Progress(quiet=True)
RECIPE = TrainRecipe(
    n_epochs=2, batch_size=32, learning_rate=0.02, filter_rate=0.003, mirror=False, small_share=0.0
)


def small_net() -> nn.Module:
    torch.manual_seed(0)
    blocks = [Basic(16, 16, 1), Basic(16, 32, 2), Basic(32, 32, 1)]
    end = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10)]
    return nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(), *blocks, *end)


@pytest.fixture(scope="module")
def networks() -> ElasticNetworks:
    made = networks_of(space(small_net(), torch.zeros(2, 3, 32, 32)))
    assert isinstance(made, ElasticNetworks)
    return made


def all_int8(space: ElasticSpace, candidate: Candidate) -> Candidate:
    genes = uniform_precision(space, np.array([candidate.genes]), Precision.INT8)
    return Candidate(tuple(genes[0].tolist()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture(scope="module")
def kernels(networks: ElasticNetworks, folder: Path) -> ElasticKernels:
    return networks.lowered(folder, n_threads=1, progress=QUIET)


def test_kernels_are_told_as_exporting_and_lowering_gives_them(
    networks: ElasticNetworks, kernels: ElasticKernels, folder: Path
) -> None:
    genes = networks.space.sample(12, np.random.default_rng(5))
    genes[:6, networks.space.n_architecture :] = 1
    candidates = [Candidate(tuple(row)) for row in networks.space.canonical(genes).tolist()]
    right = [kernels.are_exact(c, lower(networks.model(c))) for c in candidates]
    assert all(all(blocks) for blocks in right[:6])
    assert np.mean([block for blocks in right for block in blocks]) > 0.9
    again = networks.lowered(folder, n_threads=1, progress=QUIET)
    assert all(again.of(c) == kernels.of(c) for c in candidates)


class PostNorm(nn.Module):
    """Residual MLPs whose norm stays where they are left out."""

    def __init__(self) -> None:
        super().__init__()
        self.start = nn.Conv2d(3, 32, 8, 8)
        self.mlps = nn.ModuleList(
            nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 32)) for _ in range(3)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(32) for _ in range(3))
        self.head = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.start(x).flatten(2).transpose(1, 2)
        for mlp, norm in zip(self.mlps, self.norms, strict=True):
            x = norm(x + mlp(x))
        return self.head(x.mean(1))


def test_what_is_left_of_a_block_whose_branch_is_left_out_is_told(tmp_path: Path) -> None:
    networks = networks_of(space(PostNorm(), torch.zeros(2, 3, 32, 32)))
    assert isinstance(networks, ElasticNetworks)
    kernels = networks.lowered(tmp_path, n_threads=1, progress=QUIET)
    made = networks.space
    genes = made.sample(8, np.random.default_rng(7))
    genes[:, made.n_architecture :] = 0
    for row in made.canonical(genes).tolist():
        candidate = Candidate(tuple(row))
        model = networks.model(candidate)
        assert all(kernels.are_exact(candidate, lower(model)))
        described = kernels._described(candidate)
        widths = made.decode(candidate).n_channels
        size = sum(kernels.block_size_bytes(block, keys, widths) for block, keys, _ in described)
        assert size == pytest.approx(model.ByteSize(), rel=0.05)


def test_costs_are_the_sum_of_the_kernels_and_name_what_is_not_known(
    networks: ElasticNetworks, predictor: KernelPredictor, kernels: ElasticKernels
) -> None:
    space = networks.space
    table = kernels.priced(predictor)
    genes = space.sample(8, np.random.default_rng(3))
    costs = table.latencies_s(genes)
    sizes = table.sizes_bytes(genes)
    for row, cost, size in zip(genes.tolist(), costs, sizes, strict=True):
        candidate = Candidate(tuple(row))
        assert cost == pytest.approx(predictor.kernel_costs_s(kernels.of(candidate)).sum())
        assert sum(table.block_latencies_s(candidate).values()) == pytest.approx(cost)
        assert size == pytest.approx(networks.model(candidate).ByteSize(), rel=0.05)
    assert (table.latencies_s(genes[::-1])[::-1] == costs).all()
    known = predictor.predict(kernels.of(space.largest()))
    assert set(known.unknown_ops) <= set(table.predicted(space.largest()).unknown_ops)
    assert table.unknown_ops


def test_an_artifact_is_what_the_extracted_network_answers(
    networks: ElasticNetworks, small_task: Task
) -> None:
    space = networks.space
    candidate = Candidate(tuple(space.sample(1, np.random.default_rng(1))[0].tolist()))
    candidate = Candidate((*candidate.genes[: space.n_architecture], *(0 for _ in space.blocks)))
    net = networks.extract(candidate)
    prepared = networks.prepared(net, candidate, small_task)
    x = torch.from_numpy(small_task.preprocessing.apply(small_task.validation.images))
    with torch.no_grad():
        top1 = float((net(x).argmax(1).numpy() == small_task.validation.labels).mean())
    found = prepared.accuracy(small_task.validation, small_task.preprocessing, "validation")
    assert found.top1 == pytest.approx(top1, abs=0.02)


def test_the_untouched_original_keeps_its_statistics(
    networks: ElasticNetworks, small_task: Task
) -> None:
    net = networks.extract(networks.space.largest())
    before = net.get_buffer("1.running_mean").clone()
    networks.reestimate(net, small_task, 64)
    assert (net.get_buffer("1.running_mean") == before).all()
    smaller = networks.extract(networks.space.smallest())
    inherited = smaller.get_buffer("1.running_mean").clone()
    networks.reestimate(smaller, small_task, 64)
    assert (smaller.get_buffer("1.running_mean") != inherited).all()


def test_int8_takes_fewer_bytes_than_fp32(networks: ElasticNetworks) -> None:
    largest = networks.space.largest()
    int8 = all_int8(networks.space, largest)
    assert int8_blocks(networks.space, int8) == networks.space.blocks
    assert networks.model(int8).ByteSize() < 0.5 * networks.model(largest).ByteSize()


def test_a_block_of_which_only_a_dropout_is_left_is_exported() -> None:
    class Dropped(Basic):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.dropout(super().forward(x), training=self.training)

    end = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 10)]
    start = [nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), Dropped(16, 16, 1)]
    networks = networks_of(space(nn.Sequential(*start, *end), torch.zeros(2, 3, 32, 32)))
    assert networks.model(networks.space.smallest()).graph.node  # type: ignore[attr-defined]


def test_another_process_trains_and_exports_the_same(
    networks: ElasticNetworks, small_task: Task, tmp_path: Path
) -> None:
    candidate = all_int8(networks.space, networks.space.smallest())
    sent = pickle.loads(pickle.dumps(networks))
    assert sent.model(candidate) == networks.model(candidate)
    made = []
    for name, one in (("here", networks), ("there", sent)):
        net = one.extract(candidate)
        one.finetune(net, small_task, RECIPE, progress=QUIET, checkpoint=tmp_path / name)
        made.append(one.prepared(net, candidate, small_task).model())
    assert made[0] == made[1]


def test_training_is_kept_and_taken_up_again(small_task: Task, tmp_path: Path) -> None:
    x = torch.from_numpy(small_task.preprocessing.apply(small_task.validation.images[:8]))
    answers = []
    for _ in range(2):
        networks = networks_of(space(small_net(), torch.zeros(2, 3, 32, 32)))
        assert isinstance(networks, ElasticNetworks)
        networks.train(small_task, RECIPE, tmp_path, progress=QUIET)
        candidate = networks.space.smallest()
        with torch.no_grad():
            answers.append(networks.extract(candidate)(x))
        assert networks.space.harms.max() > 0
    assert (answers[0] == answers[1]).all()
    with torch.no_grad():
        torch.testing.assert_close(networks.original(x), small_net().eval()(x))


def test_a_space_serves_several_runs(small_task: Task, tmp_path: Path) -> None:
    made = space(small_net(), torch.zeros(2, 3, 32, 32))
    x = torch.from_numpy(small_task.preprocessing.apply(small_task.validation.images[:8]))
    answers = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        networks = networks_of(made)
        assert isinstance(networks, ElasticNetworks)
        networks.train(small_task, RECIPE, tmp_path / name, progress=QUIET)
        with torch.no_grad():
            torch.testing.assert_close(networks.original(x), small_net().eval()(x))
            answers.append(networks.extract(networks.space.smallest())(x))
    assert (answers[0] == answers[1]).all()
    assert not made.harms.any()


def test_weights_are_taken_as_they_are_without_a_recipe(small_task: Task, tmp_path: Path) -> None:
    networks = networks_of(space(small_net(), torch.zeros(2, 3, 32, 32)))
    assert isinstance(networks, ElasticNetworks)
    networks.train(small_task, None, tmp_path, progress=QUIET)
    assert (tmp_path / WEIGHTS).is_file()
    x = torch.from_numpy(small_task.preprocessing.apply(small_task.validation.images[:8]))
    with torch.no_grad():
        largest = networks.extract(networks.space.largest())
        torch.testing.assert_close(largest(x), small_net().eval()(x), rtol=1e-5, atol=1e-5)


def test_training_in_int8_is_taken_only_where_it_is_better(
    networks: ElasticNetworks, small_task: Task, tmp_path: Path
) -> None:
    candidate = all_int8(networks.space, networks.space.largest())
    net = networks.extract(candidate)
    networks.finetune(net, small_task, RECIPE, progress=QUIET, checkpoint=tmp_path / "a.part")
    networks.reestimate(net, small_task, 128)
    given = {
        "weight_max": 127,
        "done": tmp_path / "int8.safetensors",
        "progress": QUIET,
    }
    same, note = networks.fit_for_int8(net, candidate, small_task, RECIPE, tolerance=1.0, **given)
    assert "after training" not in note
    assert not (tmp_path / "int8.safetensors").exists()
    recipe = replace(RECIPE, n_epochs=1)
    taken, note = networks.fit_for_int8(
        net, candidate, small_task, recipe, tolerance=-1.0, **given
    )
    assert "after training with it" in note
    assert (tmp_path / "int8.safetensors").is_file()
    changed = any(
        (taken.state_dict()[name] != value).any() for name, value in same.state_dict().items()
    )
    assert changed == ("was not taken" not in note)
