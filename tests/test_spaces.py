"""Spaces by name and from modules."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from edgekit.core.errors import InputError
from edgekit.search.elastic.space import ElasticSpace
from edgekit.spaces import load_module, space


def test_a_module_becomes_a_space() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    )
    made = space(net, torch.zeros(2, 3, 32, 32))
    assert isinstance(made, ElasticSpace)
    assert made.recipe.resolution == 32
    assert made.recipe.n_classes == 4


def test_a_module_needs_an_example() -> None:
    with pytest.raises(InputError, match="needs an example of its input"):
        space(nn.Linear(3, 3))  # type: ignore[call-overload]


def test_what_is_no_classifier_of_images_is_refused_as_a_recipe() -> None:
    net = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4))
    with pytest.raises(InputError, match=r"takes one batch of square RGB images"):
        _ = space(net, torch.zeros(2, 8)).recipe


@pytest.mark.parametrize("text", ["net", "missing.py:net", "model.txt:net", "model.py:a.b"])
def test_a_module_is_named_by_file_and_name(text: str, tmp_path: Path) -> None:
    (tmp_path / "model.txt").write_text("net = 1", "utf-8")
    (tmp_path / "model.py").write_text("net = 1", "utf-8")
    with pytest.raises(InputError, match=r"FILE\.py:NAME"):
        load_module(str(tmp_path / text))


def test_a_file_that_fails_is_refused_with_its_error(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("raise RuntimeError('no such weights')", "utf-8")
    with pytest.raises(InputError, match="RuntimeError: no such weights"):
        load_module(f"{tmp_path}/model.py:net")


def test_a_file_that_ends_the_program_does_not_end_this_one(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("import sys; sys.exit(0)", "utf-8")
    with pytest.raises(InputError, match="SystemExit: 0"):
        load_module(f"{tmp_path}/model.py:net")


def test_a_file_may_hold_dataclasses(tmp_path: Path) -> None:
    lines = (
        "from __future__ import annotations",
        "from dataclasses import dataclass",
        "from torch import nn",
        "@dataclass",
        "class Recipe:",
        "    width: int = 5",
        "net = nn.Linear(Recipe().width, 2)",
    )
    (tmp_path / "model.py").write_text("\n".join(lines), "utf-8")
    assert isinstance(load_module(f"{tmp_path}/model.py:net"), nn.Linear)


def test_a_file_may_import_what_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "beside_for_a_test.py").write_text("width = 5", "utf-8")
    text = "from torch import nn\nfrom beside_for_a_test import width\nnet = nn.Linear(width, 2)"
    (tmp_path / "model.py").write_text(text, "utf-8")
    found = load_module(f"{tmp_path}/model.py:net")
    assert isinstance(found, nn.Linear)
    assert found.in_features == 5
