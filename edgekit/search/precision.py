"""Int8 only where it pays: each int8 block of a chosen candidate against itself in fp32."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import ModelProto
from pydantic import TypeAdapter, ValidationError

from edgekit.core.candidate import Candidate
from edgekit.core.errors import InputError
from edgekit.core.files import read_json, write_json
from edgekit.core.limits import Limits
from edgekit.core.precision import Precision
from edgekit.core.progress import Progress
from edgekit.core.target import Target
from edgekit.core.task import Task
from edgekit.devices.measuring.measure import compare_models
from edgekit.devices.measuring.memory import known_memory_bytes
from edgekit.search.evaluate import Alone
from edgekit.search.evaluated import Evaluated
from edgekit.search.networks import Networks
from edgekit.search.run import Run, evaluator, judge_of, trials_of
from edgekit.search.space import int8_blocks, uniform_precision, with_precision

SETTLED = "settled.json"
_KIND, _SCHEMA = "edgekit-settled-precisions", 1
_N_PAIRS = 16


@dataclass(frozen=True, slots=True)
class Settled:
    """A candidate whose int8 blocks pay.

    Attributes:
        candidate: its genes.
        notes: by block, why its precision is not the one the search had, or stays although int8
            is not faster.
    """

    candidate: Candidate
    notes: dict[str, str]


def settle_precision(
    run: Run, entry: Evaluated, task: Task, limits: Limits
) -> tuple[Evaluated, dict[str, str]]:
    """Turn int8 blocks to fp32 where int8 is not faster here, unless the size limit needs them.

    Each int8 block is compared with itself in fp32 inside the network, in interleaved pairs; int8
    stays where it was the faster one. Blocks are changed one by one although a block in int8 pays
    by what its neighbours are, so in the end the whole network is compared too; see ``settled``.
    What was found is kept in the run folder, so that asking again gives the same answer.

    Args:
        run: a finished search.
        entry: one of its measured candidates.
        task: its data.
        limits: those of the run.

    Returns:
        The measured candidate to go on with, and the notes of ``Settled``.

    Raises:
        TooNoisy: the settled candidate could not be measured.
    """
    known = load_settled(run.folder)
    found = known.get(entry.candidate)
    if found is None:
        settings = run.settings
        found = settled(
            run.networks, entry.candidate, Target(settings.target), limits, seed=settings.seed
        )
        save_settled(run.folder, {**known, entry.candidate: found, found.candidate: found})
    if found.candidate == entry.candidate:
        return entry, found.notes
    trials = trials_of(run.folder, run.space, run.settings)
    measured = {e.candidate: e for e in trials.all()}
    if found.candidate not in measured:
        judge = judge_of(run.networks, task, run.settings, run.folder)
        evaluate = evaluator(Alone(judge, Progress(quiet=True)), run.settings)
        (measured[found.candidate],) = evaluate(found.candidate)
        trials.add(measured[found.candidate])
    return measured[found.candidate], found.notes


def settled(
    networks: Networks, candidate: Candidate, target: Target, limits: Limits, *, seed: int
) -> Settled:
    """Compare block after block; a block turned to fp32 stays so while the next is compared.

    In the end two whole networks are compared: the result with what was given, which is taken back
    where it was faster beyond doubt; and then the result with itself in fp32 everywhere, which is
    taken unless int8 is faster beyond doubt or the size limit forbids it.

    Args:
        networks: of its space.
        candidate: what the search chose.
        target: where it is to run.
        limits: those on size and memory are looked at.
        seed: of inputs and resampling.
    """
    found = _settled_blocks(networks, candidate, target, limits, seed)
    int8 = int8_blocks(networks.space, found.candidate)
    if not int8:
        return found
    genes = uniform_precision(networks.space, np.array([found.candidate.genes]), Precision.FP32)
    plain = Candidate(tuple(genes[0].tolist()))
    model = networks.model(plain)
    if _breaks(model, target, limits):
        return found
    whole = compare_models(
        networks.model(found.candidate), model, target, n_pairs=2 * _N_PAIRS, seed=seed
    )
    if whole.interval[1] < 1:
        return found
    reason = f"int8 is not clearly faster in the whole (ratio {whole.ratio:.2f}): fp32 kept"
    return Settled(plain, {**found.notes, **dict.fromkeys(int8, reason)})


def _breaks(model: ModelProto, target: Target, limits: Limits) -> str:
    """The limit that a model breaks whatever its latency; empty for none."""
    if model.ByteSize() > limits.walls["size"]:
        return "size"
    if limits.memory_bytes is None:
        return ""
    return "memory" if known_memory_bytes(model, target) > limits.memory_bytes else ""


def _settled_blocks(
    networks: Networks, candidate: Candidate, target: Target, limits: Limits, seed: int
) -> Settled:
    notes: dict[str, str] = {}
    searched = candidate
    for block in int8_blocks(networks.space, candidate):
        plain = with_precision(networks.space, candidate, block, Precision.FP32)
        now, then = networks.model(candidate), networks.model(plain)
        ratio = compare_models(now, then, target, n_pairs=_N_PAIRS, seed=seed)
        if ratio.ratio < 1:
            continue
        reason = f"int8 not faster here (ratio {ratio.ratio:.2f})"
        if limit := _breaks(then, target, limits):
            notes[block] = f"{reason}, kept for the {limit} limit"
        else:
            notes[block] = f"{reason}: fp32 kept"
            candidate = plain
    if candidate == searched:
        return Settled(candidate, notes)
    before, after = networks.model(searched), networks.model(candidate)
    whole = compare_models(before, after, target, n_pairs=2 * _N_PAIRS, seed=seed)
    if whole.interval[1] < 1:
        reason = f"int8 kept: the whole network is faster with it (ratio {whole.ratio:.2f})"
        return Settled(searched, dict.fromkeys(notes, reason))
    return Settled(candidate, notes)


def save_settled(folder: Path, known: dict[Candidate, Settled]) -> None:
    """Keep what was found, by the candidate it was found for."""
    content = {
        before.text: {"candidate": after.candidate.text, "notes": after.notes}
        for before, after in known.items()
    }
    write_json(folder / SETTLED, _KIND, _SCHEMA, {"settled": content})


def load_settled(folder: Path) -> dict[Candidate, Settled]:
    """Inverse of ``save_settled``; empty when there is no file.

    Raises:
        InputError: another kind of file, or fields that are missing or wrong.
    """
    path = folder / SETTLED
    if not path.is_file():
        return {}
    try:
        rows = _ROWS.validate_python(read_json(path, _KIND, _SCHEMA).get("settled"))
    except ValidationError as error:
        raise InputError(
            f"{SETTLED} has a candidate and notes per candidate, {path} has not; delete it"
        ) from error
    return {
        Candidate.parse(before): Settled(Candidate.parse(row.candidate), row.notes)
        for before, row in rows.items()
    }


@dataclass(frozen=True, slots=True)
class _Row:
    candidate: str
    notes: dict[str, str]


_ROWS = TypeAdapter(dict[str, _Row])
