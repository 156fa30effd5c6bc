"""How much work a search and an export may do."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgekit.core.task import Task
from edgekit.search.strategies import ALONE, BY_GATES
from edgekit.training.loop import LEARNING_RATE, TrainRecipe, check_sampling

GENTLE, N_FREE_EPOCHS = 0.25, 4.0
"""Learning rates of pretrained weights, relative to those of new ones, in a short training.

From so many epochs on the rate of filters is as high: a network that lost a part of itself is
better off when it learns anew (Renda et al. 2020, arXiv 2003.02389). That of what SGD trains, such
as the matrices of a transformer, stays low: at 0.1 they forget (a small ViT: 40 % instead of
87 %)."""

_TRIAL_PART = 4


@dataclass(frozen=True, slots=True)
class Effort:
    """How much work a search and an export may do.

    Attributes:
        supernet_images: images the shared weights are trained on, counting repeats; 0 takes a
            module's weights as they are, and without any shares none.
        finetune_images: the same for the chosen network; 0 keeps the supernet's weights.
        query_images: the same for every candidate alone before it is judged; 0 judges it with the
            shared weights.
        batch_size: images a training step.
        n_evaluations: candidates that are measured.
        population: candidates a strategy asks for at once.
        n_table_networks: random networks measured to correct the cost table.
        n_finalists: of the best inside the limits, how many are trained for a little before one is
            chosen.
        narrow: use the narrow space that trains in a minute.
        sampling: which networks of the shared weights a step trains, one of
            ``edgekit.training.loop.SAMPLINGS``.

    Raises:
        InputError: another sampling.
    """

    supernet_images: int
    finetune_images: int
    query_images: int
    batch_size: int
    n_evaluations: int
    population: int
    n_table_networks: int
    n_finalists: int
    narrow: bool
    sampling: str = "sandwich"

    def __post_init__(self) -> None:
        check_sampling(self.sampling)

    @property
    def trial_images(self) -> int:
        """Images each finalist is trained on, counting repeats; 0 where there are none."""
        return self.supernet_images // _TRIAL_PART if self.n_finalists else 0

    def recipe(
        self, task: Task, n_images: int, seed: int, *, is_pretrained: bool
    ) -> TrainRecipe | None:
        """A training of ``n_images`` images of a task; None for 0 images.

        Args:
            task: the data.
            n_images: counting repeats, 0 or more; taken as whole epochs, but for weights that were
                trained before.
            seed: of order, augmentation and sampled sub-networks.
            is_pretrained: weights that were trained before get lower rates (``GENTLE``), and
                images of the full side from the first step.
        """
        if not n_images:
            return None
        recipe = TrainRecipe(
            n_epochs=max(1, round(n_images / len(task.train))),
            batch_size=self.batch_size,
            learning_rate=LEARNING_RATE * self.batch_size / 128,
            mirror=task.source["kind"] != "embedded",
            sampling=self.sampling,
            seed=seed,
        )
        if not is_pretrained:
            return recipe
        n_epochs = n_images / len(task.train)
        rate = GENTLE + (1 - GENTLE) * min(1.0, n_epochs / N_FREE_EPOCHS)
        return replace(
            recipe,
            n_epochs=n_epochs,
            learning_rate=recipe.learning_rate * GENTLE,
            filter_rate=recipe.filter_rate * rate,
            small_share=0.0,
        )


FULL = Effort(405_000, 450_000, 0, 64, 32, 8, 48, 0, narrow=False)
QUICK = Effort(15_000, 8_000, 0, 64, 12, 6, 20, 0, narrow=True)
FULL_MODULE = Effort(90_000, 450_000, 0, 64, 64, 16, 36, 4, narrow=False)
QUICK_MODULE = Effort(4_000, 4_000, 0, 64, 12, 6, 16, 0, narrow=False)
_BY_QUERIES = Effort(0, 450_000, 45_000, 64, 20, 1, 48, 0, narrow=False)
_BY_GATES = Effort(405_000, 450_000, 45_000, 64, 4, 1, 48, 0, narrow=False)
_QUICKLY_BY_GATES = Effort(15_000, 8_000, 4_000, 64, 2, 1, 16, 0, narrow=True)
_QUICKLY_BY_QUERIES = Effort(0, 8_000, 4_000, 64, 6, 1, 16, 0, narrow=True)


def effort_for(strategy: str, *, is_pretrained: bool, is_quick: bool = False) -> Effort:
    """What is done where nothing is said.

    Args:
        strategy: name; RoBoT trains each candidate alone, for a while, instead of a supernet,
            ProxylessNAS the few that it derives.
        is_pretrained: whether the weights are a module's own.
        is_quick: for a first look, in a minute or two.
    """
    if strategy in BY_GATES:
        return _QUICKLY_BY_GATES if is_quick else _BY_GATES
    if strategy in ALONE:
        return _QUICKLY_BY_QUERIES if is_quick else _BY_QUERIES
    if is_pretrained:
        return QUICK_MODULE if is_quick else FULL_MODULE
    return QUICK if is_quick else FULL
