"""What a search begins with: all that can be refused before any work, and its settings."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from edgekit.core.errors import InputError
from edgekit.core.limits import Limits
from edgekit.core.provenance import git_revision, utc_now, versions
from edgekit.core.target import Target
from edgekit.core.task import Task
from edgekit.devices.profile import DeviceProfile
from edgekit.effort import Effort, effort_for
from edgekit.search.elastic.kernels import KERNELS_FILE
from edgekit.search.elastic.space import ElasticSpace
from edgekit.search.mbconv.costs import BLOCKS_FILE
from edgekit.search.memory import MEMORY_FILE
from edgekit.search.networks import WEIGHTS
from edgekit.search.settings import RunSettings, objectives_of, read_settings
from edgekit.search.store import TABLE_NETWORKS, reach_study
from edgekit.search.strategies import BY_GATES, check_strategy
from edgekit.search.workers import Staff
from edgekit.spaces import AnySpace, fitting_recipe


def effort_of(strategy: str, space: AnySpace) -> Effort:
    """What is done where nothing is said."""
    return effort_for(strategy, is_pretrained=isinstance(space, ElasticSpace))


def check_search(
    space: AnySpace,
    strategy: str,
    effort: Effort,
    supernet: Path | None,
    task: Task,
    seed: int,
    staff: Staff | None,
    study: str,
) -> None:
    """All that can be refused before any work; the arguments are those of ``run_search``.

    Raises:
        InputError: what cannot be used.
    """
    check_strategy(strategy, space)
    (staff or Staff()).check(effort.batch_size)
    reach_study(study)
    _check_work(space, strategy, effort, supernet)
    if supernet is not None:
        _check_supernet(supernet, space, task, seed)


def settings_of(
    space: AnySpace,
    task: Task,
    profile: DeviceProfile,
    *,
    limits: Limits | None,
    strategy: str,
    seed: int,
    effort: Effort,
    data: str,
    profile_folder: str,
    study: str,
    objectives: Sequence[str] | None,
) -> RunSettings:
    """What a run depends on; the profile must hold for this machine."""
    target = Target(profile.target_text)
    profile.check_current(target)
    pretrained, walls = isinstance(space, ElasticSpace), limits or Limits()
    n_images = effort.supernet_images
    return RunSettings(
        data=_from_anywhere(data),
        data_sha256=str(task.source["sha256"]),
        mean=task.preprocessing.mean,
        std=task.preprocessing.std,
        profile=_from_anywhere(profile_folder),
        fingerprint=profile.facts.fingerprint,
        reference_fast_s=profile.reference_fast_s,
        target=target.text,
        space=fitting_recipe(space, task),
        training=effort.recipe(task, n_images, seed, is_pretrained=pretrained),
        query=effort.recipe(task, effort.query_images, seed + 5, is_pretrained=pretrained),
        strategy=strategy,
        limits=walls,
        n_evaluations=effort.n_evaluations,
        population=effort.population,
        n_table_networks=effort.n_table_networks,
        n_finalists=effort.n_finalists,
        trial=effort.recipe(task, effort.trial_images, seed + 4, is_pretrained=pretrained),
        seed=seed,
        study=study,
        objectives=objectives_of(objectives, walls),
    )


def provenance() -> dict[str, object]:
    """Of a run: when, and by which versions."""
    return {"created_at": utc_now(), "versions": versions(), "git_revision": git_revision()}


def _check_work(space: AnySpace, strategy: str, effort: Effort, supernet: Path | None) -> None:
    """Whether something is trained that the strategy can judge."""
    n_images, n_query = effort.supernet_images, effort.query_images
    if not (n_images or n_query or isinstance(space, ElasticSpace)):
        raise InputError(
            f"{space.name} has no weights before it is trained, got 0 images to train on; give "
            "more to all at once (--epochs) or to each candidate (--query-epochs)"
        )
    if strategy in BY_GATES and supernet is not None:
        raise InputError(
            f"{strategy} trains every operation with weights of its own, got the supernet "
            f"{supernet}; leave it out"
        )
    if strategy in BY_GATES and not (n_images and n_query):
        raise InputError(
            f"{strategy} trains its operations and then what it derives, got {n_images} and "
            f"{n_query} images for that; give epochs for both (--epochs, --query-epochs)"
        )
    if supernet is not None and not n_images:
        raise InputError(
            f"a supernet is taken over instead of being trained, got {supernet} with 0 images to "
            "train on; leave it out, or give epochs (--epochs)"
        )


def take_over(source: Path, folder: Path, settings: RunSettings) -> None:
    """The supernet of another run, and what was measured for its table on the same device."""
    made = read_settings(source)
    same = [
        (s.fingerprint, s.target, s.reference_fast_s, s.n_table_networks) for s in (made, settings)
    ]
    of_the_device = (
        [BLOCKS_FILE, KERNELS_FILE, MEMORY_FILE, TABLE_NETWORKS] if same[0] == same[1] else []
    )
    names = [WEIGHTS, *of_the_device]
    for name in names:
        if (source / name).is_file() and not (folder / name).is_file():
            shutil.copyfile(source / name, folder / name)


def _check_supernet(folder: Path, space: AnySpace, task: Task, seed: int) -> None:
    """Another seed would judge the supernet on images it was trained on."""
    made = read_settings(folder)
    if (made.space, made.data_sha256, made.seed) != (space.recipe, task.source["sha256"], seed):
        raise InputError(
            "a supernet is taken over from a run of the same space, data and seed, "
            f"{folder} has others; leave it out to train one"
        )
    if not (folder / WEIGHTS).is_file():
        raise InputError(f"a trained supernet is {WEIGHTS}, {folder} has none; finish that run")


def _from_anywhere(text: str) -> str:
    """A path that a resume finds from any folder; a word that is no path stays as it is."""
    return str(Path(text).absolute()) if text not in ("", "digits") else text
