from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from edgekit.core.errors import TooNoisy
from edgekit.core.progress import Progress
from edgekit.core.target import Target
from edgekit.devices.networks.families import FAMILIES
from edgekit.devices.networks.lowering import lower
from edgekit.devices.predicting import samples as samples_module
from edgekit.devices.predicting.samples import Source, noise_of, take_samples
from tests.devices.timed import random_samples
from tests.line import patient

SETTINGS = {"n_passes": 4, "block_s": 0.01, "n_profiled_runs": 3, "seed": 0}


def _source(family: str, width: float) -> Source:
    return Source(f"{family}{width}", family, "fp32", lambda: FAMILIES[family](0, 32, 8, width))


def _taken(max_noise: float):
    sources = [_source("resnet20", 0.5), _source("resnet20", 1.0)]
    target, progress = Target("local?threads=1"), Progress(quiet=True)
    return take_samples(sources, target, progress=progress, max_noise=max_noise, **SETTINGS)


@pytest.fixture(scope="module")
def taken():
    return patient(lambda: _taken(max_noise=100.0))


def test_samples_hold_every_kernel_and_a_label(taken):
    samples, _ = taken
    for sample, width in zip(samples, (0.5, 1.0), strict=True):
        kernels = tuple(p.kernel for p in lower(FAMILIES["resnet20"](0, 32, 8, width)))
        assert sample.kernels == kernels
        assert sample.kernel_times_s.shape == (len(kernels),)
        assert sample.kernel_times_s.min() >= 0
        assert sample.label_s > 0


def test_a_wider_network_takes_longer(taken):
    narrow, wide = taken[0]
    assert narrow.label_s < wide.label_s
    assert narrow.kernel_times_s.sum() < wide.kernel_times_s.sum()


def test_plain_and_profiled_blocks_are_interleaved(taken):
    names = [block.model for block in taken[1]]
    assert sum(name.endswith("/profiled") for name in names) == 2 * SETTINGS["n_passes"]
    first_pass = names[:4]
    assert len(set(first_pass)) == 4


def test_noise_is_the_disagreement_of_the_halves():
    sample = dataclasses.replace(random_samples(1)[0], halves_s=(1.1, 1.0))
    assert noise_of([sample]) == pytest.approx(np.array([0.1]))


def test_labels_that_do_not_repeat_are_refused():
    with pytest.raises(TooNoisy, match="profile again"):
        _taken(max_noise=-1.0)


def test_a_network_that_never_met_a_steady_machine_is_named(monkeypatch):
    def marked(blocks):
        return [dataclasses.replace(b, marked=b.model == "resnet201.0") for b in blocks]

    monkeypatch.setattr(samples_module, "mark_blocks", marked)
    with pytest.raises(TooNoisy, match=r"1 of 2 had fewer, among them resnet201\.0"):
        _taken(max_noise=100.0)
