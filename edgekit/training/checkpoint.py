"""Training state on disk: one safetensors file, replaced atomically."""

from __future__ import annotations

import json
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
        tensors: groups ``model/``, ``ema/`` and ``momentum/`` of named tensors.
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
    try:
        with safe_open(str(path), framework="pt") as file:
            meta = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        return Checkpoint(int(meta["step"]), meta["recipe"], tensors)
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise InputError(
            f"a checkpoint must be a whole safetensors file, {path} is not: {error}"
        ) from error


def save_weights(
    path: Path, state: Mapping[str, torch.Tensor], meta: Mapping[str, object]
) -> None:
    """Write named tensors with JSON-able metadata."""
    text = {key: json.dumps(value) for key, value in meta.items()}
    write_bytes_atomic(path, save({k: v.detach().contiguous() for k, v in state.items()}, text))


def load_weights(path: Path) -> dict[str, torch.Tensor]:
    """Read named tensors.

    Raises:
        InputError: missing or not a safetensors file.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"weights must be a whole safetensors file, {path} is not: {error}"
        ) from error
