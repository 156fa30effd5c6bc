"""Training state on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from edgekit.core.errors import InputError
from edgekit.training.checkpoint import (
    Checkpoint,
    load_checkpoint,
    load_weights,
    recipe_of,
    save_checkpoint,
    save_weights,
)

TENSORS = {
    "model/w": torch.arange(24.0).reshape(2, 3, 2, 2).to(memory_format=torch.channels_last),
    "model/n": torch.tensor(3),
    "ema/w": torch.full((2,), -0.0),
}


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    save_checkpoint(path, Checkpoint(12, "a recipe", TENSORS))
    saved = load_checkpoint(path)
    assert (saved.step, saved.recipe) == (12, "a recipe")
    assert saved.tensors.keys() == TENSORS.keys()
    assert all(torch.equal(saved.tensors[name], TENSORS[name]) for name in TENSORS)
    assert list(saved.group("ema")) == ["w"]
    assert set(saved.group("model")) == {"w", "n"}
    assert recipe_of(path) == "a recipe"


def test_a_cut_off_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    save_checkpoint(path, Checkpoint(1, "", TENSORS))
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(InputError, match=r"state\.safetensors"):
        load_checkpoint(path)


def test_weights_are_no_checkpoint_and_a_missing_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_weights(path, {"w": torch.ones(2)}, "r")
    assert torch.equal(load_weights(path)["w"], torch.ones(2))
    assert recipe_of(path) == "r"
    with pytest.raises(InputError, match="step"):
        load_checkpoint(path)
    with pytest.raises(InputError, match="nowhere"):
        load_weights(tmp_path / "nowhere")


def test_a_failed_write_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    save_checkpoint(path, Checkpoint(1, "r", TENSORS))
    with pytest.raises(Exception, match=r"(?i)meta"):
        save_checkpoint(path, Checkpoint(2, "r", {"w": torch.ones(2, device="meta")}))
    assert load_checkpoint(path).step == 1
    assert [item.name for item in tmp_path.iterdir()] == [path.name]
