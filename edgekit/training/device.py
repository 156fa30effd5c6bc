"""Where a training runs: on a GPU if torch sees one, else on the CPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import fx, nn

CPU = torch.device("cpu")


def training_device(rank: int = 0) -> torch.device:
    """The GPU of a process that trains; the CPU where torch sees none.

    ``CUDA_VISIBLE_DEVICES`` says which are seen; empty, none is.

    Args:
        rank: of the process; several may share a GPU.
    """
    n = torch.cuda.device_count()
    return torch.device("cuda", rank % n) if n else CPU


@contextmanager
def placed(modules: Sequence[nn.Module], device: torch.device) -> Iterator[None]:
    """Inside, modules lie on ``device``; afterwards on the CPU again.

    Their parameters stay the same objects. Graphs that make tensors make them there too.
    """
    if device == CPU:
        yield
        return
    try:
        _place(modules, device)
        yield
    finally:
        _place(modules, CPU)


def _place(modules: Sequence[nn.Module], device: torch.device) -> None:
    for module in modules:
        for part in module.modules():
            if isinstance(part, fx.GraphModule):
                _redirect(part, device)
        module.to(device)


def _redirect(module: fx.GraphModule, device: torch.device) -> None:
    """Operations of a captured graph name the device of what they make."""
    nodes = [node for node in module.graph.nodes if "device" in node.kwargs]
    for node in nodes:
        node.kwargs = {**node.kwargs, "device": device}
    if nodes:
        module.recompile()
