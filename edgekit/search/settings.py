"""Everything a search depends on, and the file that keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from edgekit.core.errors import InputError
from edgekit.core.files import read_json, write_json
from edgekit.core.limits import FIGURES, Limits
from edgekit.search.elastic.space import ElasticRecipe
from edgekit.search.mbconv.space import MBConvRecipe
from edgekit.search.store import RUN_FILE, check_study
from edgekit.search.strategies import strategy_named
from edgekit.training.loop import TrainRecipe

_KIND, _SCHEMA = "edgekit-run", 7

OBJECTIVES = ("latency", "size")
"""What is made small where nothing is said, besides what is limited."""


def objectives_of(asked: Sequence[str] | None, limits: Limits) -> tuple[str, ...]:
    """What a search makes small besides the error: what is asked for and what is limited.

    Args:
        asked: some of ``FIGURES``; None for ``OBJECTIVES``.
        limits: walls of the search.

    Raises:
        InputError: another name, or nothing.
    """
    wanted = {*(OBJECTIVES if asked is None else asked), *limits.limited}
    unknown = sorted(wanted - set(FIGURES))
    if unknown or not wanted:
        raise InputError(
            f"a search makes some of {', '.join(FIGURES)} small, got "
            f"{', '.join(unknown) or 'none'}; name one or more of these"
        )
    return tuple(name for name in FIGURES if name in wanted)


def check_objectives(names: tuple[str, ...], limits: Limits) -> None:
    """Raise InputError unless ``objectives_of`` could have made them."""
    if names != objectives_of(names, limits):
        raise InputError(
            f"objectives are some of {', '.join(FIGURES)} in that order, with all that are "
            f"limited, got {', '.join(names)} for {limits.describe()}"
        )


@dataclass(frozen=True, slots=True)
class RunSettings:
    """Everything a search depends on, besides data and profile.

    Attributes:
        data: where the task came from, as given to ``edgekit.core.task.load_task``; empty for
            in-memory data.
        data_sha256: digest of what was read; a resumed run refuses other data.
        mean: of each channel, as the network is given images.
        std: of each channel.
        profile: folder of the device profile.
        fingerprint: fingerprint of the device and runtime the profile was made on.
        reference_fast_s: reference kernels in the fast state of that device, in seconds.
        target: target text.
        space: recipe of the space.
        training: recipe of the supernet; None where pretrained weights are taken as they are, or
            there is no supernet.
        query: recipe of each candidate alone before it is judged; None judges it as it is.
        strategy: name of the strategy.
        limits: walls of the search.
        n_evaluations: candidates to measure, above 0.
        population: candidates a strategy asks for at once, above 0.
        n_table_networks: random networks measured to correct the cost table, 0 or more.
        n_finalists: of the best inside the limits, how many are trained for a little before one is
            chosen, 0 or more.
        trial: the recipe of that; None where there are none.
        seed: of every random choice.
        study: database of the trials, as ``check_study`` takes it; empty for run.db here.
        objectives: besides accuracy, which of ``FIGURES`` are made small, in that order; all that
            are limited.

    Raises:
        InputError: an unknown strategy, a count or seed out of its range, such a database, or
            objectives without one that is limited.
    """

    data: str
    data_sha256: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    profile: str
    fingerprint: str
    reference_fast_s: tuple[float, ...]
    target: str
    space: MBConvRecipe | ElasticRecipe
    training: TrainRecipe | None
    query: TrainRecipe | None
    strategy: str
    limits: Limits
    n_evaluations: int
    population: int
    n_table_networks: int
    n_finalists: int
    trial: TrainRecipe | None
    seed: int
    study: str = ""
    objectives: tuple[str, ...] = OBJECTIVES

    def __post_init__(self) -> None:
        strategy_named(self.strategy)
        check_study(self.study)
        check_objectives(self.objectives, self.limits)
        for name, least in (
            ("n_evaluations", 1),
            ("population", 1),
            ("n_table_networks", 0),
            ("n_finalists", 0),
            ("seed", 0),
        ):
            if getattr(self, name) < least:
                raise InputError(f"{name} must be at least {least}, got {getattr(self, name)}")

    def to_json(self) -> dict[str, object]:
        """Plain values, for ``run.json``."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: dict[str, object]) -> RunSettings:
        """Inverse of ``to_json``.

        Raises:
            InputError: a field is missing, unknown or of a wrong type.
        """
        fields = dict(document)
        try:
            space = _recipe_from_json(fields.pop("space"))
            names = ("training", "query", "trial")
            training, query, trial = (_training(fields.pop(name)) for name in names)
            limits = Limits(**fields.pop("limits"))  # type: ignore[arg-type]
            fast_s = tuple(float(value) for value in fields.pop("reference_fast_s"))  # type: ignore[attr-defined]
            objectives = tuple(map(str, fields.pop("objectives")))  # type: ignore[call-overload]
            mean, std = (_triple(fields.pop(name)) for name in ("mean", "std"))
            return cls(
                mean=mean,
                std=std,
                space=space,
                training=training,
                query=query,
                trial=trial,
                limits=limits,
                reference_fast_s=fast_s,
                objectives=objectives,
                **fields,  # type: ignore[arg-type]
            )
        except (TypeError, KeyError, ValueError) as error:
            raise InputError(
                f"a run has the fields of RunSettings, this one does not: {error}; start a new one"
            ) from error


def _triple(values: object) -> tuple[float, float, float]:
    if not isinstance(values, list | tuple) or len(values) != 3:
        raise TypeError(f"mean and std are three numbers each, got {values!r}")
    red, green, blue = map(float, values)
    return red, green, blue


def _training(document: object) -> TrainRecipe | None:
    return None if document is None else TrainRecipe(**document)  # type: ignore[arg-type]


def _recipe_from_json(document: object) -> MBConvRecipe | ElasticRecipe:
    if not isinstance(document, dict):
        raise TypeError(f"a space is an object, got {document!r}")
    recipe = ElasticRecipe if "sha256" in document else MBConvRecipe
    return recipe.from_json(document)


def write_settings(folder: Path, settings: RunSettings, provenance: dict[str, object]) -> None:
    """Begin a run folder, or check that it is the same run.

    Raises:
        InputError: the folder holds a run with other settings.
    """
    path = folder / RUN_FILE
    if path.is_file():
        if read_settings(folder) != settings:
            raise InputError(
                f"a run keeps its settings, {folder} holds a run with others; choose another "
                "folder or resume that one"
            )
        return
    write_json(path, _KIND, _SCHEMA, {"settings": settings.to_json(), "provenance": provenance})


def read_settings(folder: Path) -> RunSettings:
    """Settings of a run folder.

    Raises:
        InputError: not a run folder.
    """
    document = read_json(folder / RUN_FILE, _KIND, _SCHEMA)["settings"]
    if not isinstance(document, dict):
        raise InputError(f"{folder / RUN_FILE} holds no settings; it is not a run")
    return RunSettings.from_json(document)
