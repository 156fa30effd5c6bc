"""Training state on disk: one safetensors file, replaced atomically."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from edgekit.core.errors import InputError
from edgekit.core.files import write_bytes_atomic


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Everything needed to go on after ``step`` steps.

    Attributes:
        step: steps done.
        recipe: text that identifies the recipe; a checkpoint of another recipe is refused.
        tensors: groups ``model/``, ``ema/`` and ``optimizer/`` of named tensors.
    """

    step: int
    recipe: str
    tensors: dict[str, torch.Tensor]

    def group(self, name: str) -> dict[str, torch.Tensor]:
        """Tensors of one group, without the prefix."""
        prefix = f"{name}/"
        return {k[len(prefix) :]: v for k, v in self.tensors.items() if k.startswith(prefix)}


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write the checkpoint whole or not at all."""
    meta = {"step": str(checkpoint.step), "recipe": checkpoint.recipe}
    tensors = {k: v.detach().contiguous() for k, v in checkpoint.tensors.items()}
    write_bytes_atomic(path, save(tensors, meta))


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        InputError: not a readable checkpoint.
    """
    tensors, meta = _read(path)
    try:
        return Checkpoint(int(meta["step"]), meta["recipe"], tensors)
    except (KeyError, ValueError) as error:
        raise InputError(
            f"a checkpoint names its step and its recipe, {path} does not: {error}; delete it"
        ) from error


def save_weights(path: Path, state: Mapping[str, torch.Tensor], recipe: str) -> None:
    """Write named tensors and the text of the recipe they were trained with."""
    tensors = {name: tensor.detach().contiguous() for name, tensor in state.items()}
    write_bytes_atomic(path, save(tensors, {"recipe": recipe}))


def load_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read named tensors.

    Raises:
        InputError: missing or not a safetensors file.
    """
    return _read(path)[0]


def recipe_of(path: Path) -> str:
    """Text of the recipe that weights or a checkpoint were trained with; empty if not recorded.

    Raises:
        InputError: missing or not a safetensors file.
    """
    return _read(path)[1].get("recipe", "")


def _read(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    try:
        with safe_open(str(path), framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}
            return tensors, file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"weights must be a whole safetensors file, {path} is not: {error}; make it again"
        ) from error
