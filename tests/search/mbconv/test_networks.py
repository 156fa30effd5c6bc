"""Networks of one supernet, prepared and drawn, against the runtime."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch

from edgekit.core.candidate import Candidate
from edgekit.core.precision import Precision
from edgekit.core.progress import Progress
from edgekit.core.target import Target
from edgekit.core.task import Split, Task
from edgekit.devices.probe import probe
from edgekit.search.mbconv.networks import MBConvNetworks
from edgekit.search.mbconv.space import MBConvSpace
from edgekit.search.space import int8_blocks
from edgekit.training.loop import TrainRecipe

QUIET = Progress(quiet=True)
MIXED = Candidate((3, 6, 1, 0, 1, 0, 0, 1, 1, 1))


def test_accuracy_is_what_the_runtime_counts_on_the_model(
    networks: MBConvNetworks, small_task: Task
) -> None:
    space, weight_max = networks.space, probe(Target()).int8_weight_max
    for candidate in (MIXED, space.largest(), space.smallest(Precision.INT8)):
        net = networks.extract(candidate)
        prepared = networks.prepared(net, candidate, small_task, weight_max)
        accuracy = prepared.accuracy(small_task.validation, small_task.preprocessing, "validation")
        model = prepared.model().SerializeToString()
        session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
        images = small_task.preprocessing.apply(small_task.validation.images)
        name = session.get_inputs()[0].name
        answers = [session.run(None, {name: image[None]})[0].argmax() for image in images]
        n_correct = int((np.array(answers) == small_task.validation.labels).sum())
        assert abs(accuracy.n_correct - n_correct) <= (2 if int8_blocks(space, candidate) else 0)
        assert (accuracy.n_images, accuracy.split) == (64, "validation")


def test_preparing_depends_on_neither_validation_nor_test(
    networks: MBConvNetworks, small_task: Task
) -> None:
    blank = Split(np.zeros_like(small_task.validation.images), small_task.validation.labels)
    other = replace(small_task, validation=blank, test=blank)
    ranges = [
        networks.prepared(networks.extract(MIXED), MIXED, task).ranges
        for task in (small_task, other)
    ]
    assert ranges[0] == ranges[1]


def test_networks_for_the_table_are_a_third_each_of_fp32_int8_and_mixed(
    space: MBConvSpace,
) -> None:
    networks = MBConvNetworks(space)
    candidates = networks.table_candidates(30, 0)
    assert candidates == networks.table_candidates(30, 0)
    precisions = [
        {int(block.precision == "int8") for block in space.decode(c).active()}
        | {c.genes[space.n_positions], c.genes[-1]}
        for c in candidates
    ]
    assert len(candidates) > 25
    assert precisions.count({0}) >= 9
    assert precisions.count({1}) >= 9


def test_without_a_supernet_every_network_has_weights_of_its_own_and_learns_from_the_labels(
    space: MBConvSpace, small_task: Task, tmp_path: Path
) -> None:
    networks = MBConvNetworks(space)
    networks.train(small_task, None, tmp_path, progress=QUIET)
    assert not list(tmp_path.iterdir())
    first, again = (networks.extract(MIXED).state_dict() for _ in range(2))
    other = networks.initialised(MIXED, 1).state_dict()
    name = "stem.conv.conv.weight"
    assert torch.equal(first[name], again[name])
    assert not torch.equal(first[name], other[name])
    net = networks.extract(MIXED)
    recipe = TrainRecipe(n_epochs=30, batch_size=32, mirror=False, small_share=0.0)
    networks.finetune(net, small_task, recipe, progress=QUIET, checkpoint=tmp_path / "part")
    prepared = networks.prepared(net, space.largest(), small_task)
    before = networks.prepared(networks.extract(MIXED), space.largest(), small_task)
    losses = [p.loss(small_task.train, small_task.preprocessing) for p in (before, prepared)]
    assert losses[1] < losses[0] - 0.5
