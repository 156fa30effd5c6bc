"""Processes that train one model together, each on its share of every batch.

batch --> share --> objective --> gradients, averaged over all --> the same step in each
"""

from __future__ import annotations

import os
import pickle
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from edgekit.core.errors import EdgekitError, InputError
from edgekit.training.device import training_device

_LOOPBACK = {"linux": "lo", "darwin": "lo0"}
_PATIENCE = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Ranks:
    """One of the processes that train together.

    All of them hold the same weights in every step: they begin with the same, and step by the same
    averaged gradients. Batch-norm statistics are those of each one's share; they are estimated
    again before use anyway.

    Attributes:
        rank: which one; the first shows progress and writes files.
        n: how many there are.
    """

    rank: int = 0
    n: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this one shows progress and writes files."""
        return self.rank == 0

    @property
    def device(self) -> torch.device:
        """Where this one trains."""
        return training_device(self.rank)

    def share(self, x: torch.Tensor, y: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Every n-th image of a batch ``(images, ...)`` and its label, on ``device``.

        Raises:
            InputError: the batch cannot be shared evenly.
        """
        if len(x) % self.n:
            raise InputError(
                f"a batch is shared evenly among the processes that train, got {len(x)} images "
                f"for {self.n}; take a divisor of that"
            )
        x, y = x[self.rank :: self.n], y[self.rank :: self.n]
        return x.to(self.device), y.to(self.device)

    def average(self, model: nn.Module) -> None:
        """Make every gradient the mean over all processes, by way of the main memory.

        Raises:
            EdgekitError: another one ended.
        """
        if self.n == 1:
            return
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        flat = torch.cat([gradient.reshape(-1) for gradient in gradients]).cpu()
        try:
            dist.all_reduce(flat)
        except RuntimeError as error:
            raise EdgekitError(
                "all processes that train together must live, one ended: "
                f"{str(error).splitlines()[0]}; the same command goes on from the checkpoint"
            ) from error
        flat, start = flat.to(self.device), 0
        for gradient in gradients:
            part = flat[start : start + gradient.numel()]
            gradient.copy_(part.view(gradient.shape) / self.n)
            start += gradient.numel()


ALONE = Ranks()

Work = Callable[[Ranks], None]
"""What each of the processes does; must be picklable."""


@contextmanager
def together(n: int, work: Work) -> Iterator[Ranks]:
    """Start all but the first of ``n`` processes, which is this one inside the block.

    Each has its part of the threads. A script that starts them needs
    ``if __name__ == "__main__":``.

    Args:
        n: 1 or more; 1 starts nothing.
        work: what the others do; this process does the same in the block.
    """
    if n == 1:
        yield Ranks()
        return
    n_threads = torch.get_num_threads()
    share = max(1, n_threads // n)
    with tempfile.TemporaryDirectory(prefix="edgekit-ranks-") as folder:
        place = str(Path(folder) / "meeting")
        sent = pickle.dumps(work)
        context = torch.multiprocessing.get_context("spawn")
        others = [
            context.Process(target=_work, args=(sent, place, rank, n, share), daemon=True)
            for rank in range(1, n)
        ]
        for process in others:
            process.start()
        torch.set_num_threads(share)
        try:
            _meet(place, 0, n)
            yield Ranks(0, n)
            for process in others:
                process.join()
        finally:
            torch.set_num_threads(n_threads)
            for process in others:
                process.kill()
            if dist.is_initialized():
                dist.destroy_process_group()


def _work(sent: bytes, place: str, rank: int, n: int, n_threads: int) -> None:
    torch.set_num_threads(n_threads)
    work: Work = pickle.loads(sent)  # from the process that began it
    _meet(place, rank, n)
    work(Ranks(rank, n))
    dist.destroy_process_group()


def _meet(place: str, rank: int, n: int) -> None:
    """On this machine only, through its loopback interface."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", _LOOPBACK.get(sys.platform, ""))
    dist.init_process_group(
        "gloo", init_method=f"file://{place}", rank=rank, world_size=n, timeout=_PATIENCE
    )
