"""Weights and gates trained by turns, until what the gates prefer is at the limits.

halves of the training images --> weights | gates --> price of each limit --> most probable
networks at the limits
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from edgekit.core.errors import InputError
from edgekit.core.files import read_json, write_json
from edgekit.core.progress import Progress
from edgekit.core.task import Split, Task
from edgekit.search.mbconv.space import MBConvSpace
from edgekit.search.protocol.problem import Floats, SearchProblem
from edgekit.search.proxyless.gates import Gates
from edgekit.search.proxyless.network import OverNetwork
from edgekit.search.proxyless.paths import drawn, expected_costs, genes_of_paths
from edgekit.search.space import Genes
from edgekit.training.augment import to_tensor
from edgekit.training.loop import Step, TrainRecipe, train
from edgekit.training.losses import cross_entropy

GATES_FILE = "gates.json"
_KIND, _SCHEMA = "edgekit-gates", 1

WARM_UP, EVERY = 0.3, 2
"""Share of the steps that train weights alone; steps of the weights for one of the gates."""

_TRAVEL, _PRICE_TRAVEL, _MAX_RATE = 4.0, 20.0, 0.3
"""How far a training may move a parameter of a gate; a price, for each limit's worth above it.

The paper's rate of 0.001 belongs to its hundred thousand steps of the gates."""

_N_EXPECTED, _N_REWARDED = 32, 10

RelativeCosts = Callable[[Genes], Floats]
"""Canonical genes ``(n, genes)`` to limited figures ``(n, figures)``, as shares of the limits."""


@dataclass(frozen=True, slots=True)
class Learnt:
    """What a training of gates leaves.

    Attributes:
        probabilities: of the paths of each choice point.
        price: of each limited figure, in nats for the whole limit.
    """

    probabilities: list[Floats]
    price: Floats


def relative_costs(problem: SearchProblem) -> RelativeCosts:
    """The limited figures that are predicted, as shares of their limits."""
    limits = np.array([objective.limit for objective in problem.objectives])
    example = problem.costs(np.array([problem.space.largest().genes]))[0]
    limited = np.flatnonzero(np.isfinite(limits) & ~np.isnan(example))
    return lambda genes: problem.costs(genes)[:, limited] / limits[limited]


def train_gates(
    space: MBConvSpace,
    task: Task,
    recipe: TrainRecipe,
    costs: RelativeCosts,
    folder: Path,
    *,
    weight_max: int,
    by_reward: bool,
    progress: Progress,
) -> Learnt:
    """Learn which paths to take, or load what a run folder holds of that.

    Half of the training images trains weights, the other half the gates. A first part of the steps
    is for the weights alone (the paper: 40 of 160 epochs), then both by turns. Instead of a fixed
    weight of the latency (the paper's lambda) each limit has a price that rises while networks lie
    above it and falls while they lie below: a limit is a wall, and the price that leads to it is
    not known beforehand.

    Args:
        space: what may be chosen.
        task: its training split is read.
        recipe: hyper-parameters of the weights.
        costs: shares of the limits.
        folder: run folder; a checkpoint and ``gates.json`` are written there.
        weight_max: largest magnitude of an int8 weight, 1..127.
        by_reward: REINFORCE on the accuracy less the priced costs (section 3.3.2 of the paper) in
            place of gradients through the gates: for costs that have no expectation to be had.
        progress: where the bar is drawn.
    """
    n_figures = costs(np.array([space.largest().genes])).shape[1]
    torch.manual_seed(recipe.seed)
    net = OverNetwork(space, n_figures, recipe.seed, weight_max)
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if (folder / GATES_FILE).is_file():
        _load(net.gates, folder)
    else:
        ours, held_out = _halves(task, recipe.seed)
        longer = replace(recipe, n_epochs=2 * recipe.n_epochs)
        turns = _Turns(net, held_out, ours, costs, longer, by_reward)
        checkpoint = folder / "gates.part"
        label = "over-parameterised network"
        train(net, turns, ours, longer, progress=progress, label=label, checkpoint=checkpoint)
        write_json(folder / GATES_FILE, _KIND, _SCHEMA, _document(net.gates))
        checkpoint.unlink()
    return Learnt(net.gates.probabilities(), net.gates.price.numpy())


def _halves(task: Task, seed: int) -> tuple[Task, Split]:
    order = np.random.default_rng((seed, 11)).permutation(len(task.train))
    split = task.train
    first, second = (np.sort(part) for part in np.array_split(order, 2))
    ours = Split(split.images[first], split.labels[first])
    return replace(task, train=ours), Split(split.images[second], split.labels[second])


@dataclass(frozen=True, slots=True)
class _Turns:
    """The objective of ``train``: a step of the weights, and now and then one of the gates."""

    net: OverNetwork
    held_out: Split
    task: Task
    costs: RelativeCosts
    recipe: TrainRecipe
    by_reward: bool

    @property
    def n_updates(self) -> float:
        """Steps of the gates in the whole training, about."""
        return self.recipe.n_steps(len(self.task.train)) * (1 - WARM_UP) / EVERY

    def __call__(self, x: torch.Tensor, y: torch.Tensor, step: Step) -> float:
        paths = drawn(self.net.gates.probabilities(), 1, step.rng)[0]
        loss = cross_entropy(self.net(x, paths), y, self.recipe.label_smoothing)
        loss.backward()
        if step.done >= WARM_UP and step.rng.random() < 1 / EVERY:
            with frozen(self.net):
                (self._rewarded if self.by_reward else self._compared)(step.rng, x.device)
        return float(loss.detach())

    def _compared(self, rng: np.random.Generator, device: torch.device) -> None:
        """Two paths a point: the gradient of the loss and of the priced expected costs."""
        net, gates = self.net, self.net.gates
        x, y = (part.to(device) for part in self._batch(rng))
        pairs, active = gates.pairs(rng)
        logits, binary = net.gated(x, pairs, active)
        found = torch.autograd.grad(cross_entropy(logits, y, 0.0), binary)
        price, probabilities = gates.price.numpy(), gates.probabilities()
        expected, slopes = expected_costs(net.points, probabilities, self.costs, rng, _N_EXPECTED)
        by_gate = [
            gradient.cpu().numpy() + slope[pair] @ price
            for gradient, slope, pair in zip(found, slopes, pairs, strict=True)
        ]
        rate = _TRAVEL * float(np.mean([len(p) for p in probabilities])) / 2 / self.n_updates
        gates.move(pairs, by_gate, min(_MAX_RATE, rate))
        self._reprice(expected)

    @torch.no_grad()
    def _rewarded(self, rng: np.random.Generator, device: torch.device) -> None:
        """Networks drawn, judged on a batch, and made more probable by how good they are."""
        net, gates = self.net, self.net.gates
        x, y = (part.to(device) for part in self._batch(rng))
        probabilities = gates.probabilities()
        paths = drawn(probabilities, _N_REWARDED, rng)
        right = [float((net(x, row).argmax(1) == y).float().mean()) for row in paths]
        figures = self.costs(genes_of_paths(net.points, paths))
        reward = np.array(right) - figures @ gates.price.numpy()
        gain = reward - reward.mean()
        by_alpha = [
            -gain @ (np.eye(len(p))[taken] - p) / len(paths)
            for p, taken in zip(probabilities, paths.T, strict=True)
        ]
        gates.move_all(by_alpha, min(_MAX_RATE, _TRAVEL / self.n_updates))
        self._reprice(figures.mean(axis=0))

    def _batch(self, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        n = min(self.recipe.batch_size, len(self.held_out))
        picked = np.sort(rng.choice(len(self.held_out), n, replace=False))
        x = to_tensor(self.held_out.images[picked], self.task.preprocessing)
        return x, torch.from_numpy(self.held_out.labels[picked])

    def _reprice(self, expected: Floats) -> None:
        """Towards the limits, of the mean network and of the most probable one alike."""
        gates = self.net.gates
        genes = genes_of_paths(self.net.points, gates.most_probable()[None])
        over = (expected + self.costs(genes)[0]) / 2 - 1
        rate = min(_MAX_RATE, _PRICE_TRAVEL / self.n_updates)
        gates.price.add_(torch.from_numpy(rate * over)).clamp_(min=0)


@contextmanager
def frozen(net: OverNetwork) -> Iterator[None]:
    """Weights without gradients: what they would need is not kept."""
    parameters = list(net.parameters())
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def _document(gates: Gates) -> dict[str, object]:
    return {"alpha": gates.alpha.tolist(), "price": gates.price.tolist()}


def _load(gates: Gates, folder: Path) -> None:
    path = folder / GATES_FILE
    document = read_json(path, _KIND, _SCHEMA)
    try:
        for name in ("alpha", "price"):
            buffer = gates.get_buffer(name)
            buffer.copy_(torch.tensor(document[name], dtype=torch.float64).view_as(buffer))
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{GATES_FILE} needs a number for each path and limit, {path} has others ({error}); "
            "delete it to train again"
        ) from error
