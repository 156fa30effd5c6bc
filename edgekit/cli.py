"""The command line: one short function per verb; what it does is in ``edgekit.workflow``.

Nothing heavy is imported before a verb runs, so that ``--help`` answers at once.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from edgekit import cli_devices, cli_split
from edgekit.cli_options import (
    AsJson,
    DataText,
    Epochs,
    Evaluations,
    FinetuneEpochs,
    Int8Tolerance,
    MaxLatencies,
    MaxLatency,
    MaxMemory,
    MaxSize,
    Mean,
    Model,
    Objectives,
    Out,
    ProfileFolders,
    Quantile,
    QueryEpochs,
    Quick,
    RayAddress,
    Resolution,
    Sampling,
    Seed,
    SpaceName,
    Std,
    StrategyName,
    Study,
    Supernet,
    TargetText,
    Trainers,
    WorkerCount,
    print_result,
)
from edgekit.cli_tasks import check_data, check_out, command_line, load, normalised
from edgekit.core.errors import EdgekitError, Infeasible, InputError
from edgekit.core.limits import QUANTILES, Limits
from edgekit.core.module_text import ModuleText
from edgekit.core.precision import INT8_TOLERANCE
from edgekit.core.progress import Progress
from edgekit.core.streams import keep_stdout
from edgekit.core.target import Target
from edgekit.core.units import format_duration, format_size

if TYPE_CHECKING:
    from edgekit.effort import Effort
    from edgekit.export.verify import Proof
    from edgekit.search.run import Run
    from edgekit.search.several import DeviceRuns

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
app.add_typer(cli_devices.app)
app.add_typer(cli_split.app)
_INTERRUPTED = 130


@app.callback()
def _edgekit() -> None:
    """The best network that fits the device, with measured proof."""


@app.command()
def profile(
    target: Annotated[str, typer.Argument(help="local or local?threads=N.")],
    out: Out = Path("build/profile"),
    quick: Quick = False,
    known: Annotated[
        list[Path] | None,
        typer.Option(
            "--from",
            help="Folder or name of another target's profile, to carry over by timing a few whole "
            "networks; also for providers that hide their kernels. May be given again.",
        ),
    ] = None,
    networks: Annotated[
        int | None,
        typer.Option("--networks", help="Networks to time with --from, 10 to 265; 20 without it."),
    ] = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Measure a device and fit its latency predictor."""
    device = Target(target)
    check_out(out)
    if known and quick:
        raise InputError("a profile is either --quick or --from others, got both; leave one out")
    if networks is not None and not known:
        raise InputError(f"--networks goes with --from, got {networks} alone; add --from FOLDER")
    from edgekit.workflow import REPORT, profile_target

    made = profile_target(
        device,
        out,
        quick=quick,
        known=known or (),
        n_networks=networks,
        seed=seed,
        progress=Progress(quiet=as_json),
    )
    accuracy = made.validation.accuracy
    lines = {
        "profile": str(out / "profile.json"),
        "report": str(out / REPORT),
        "device": made.facts.cpu_model,
        "target": made.target_text,
        "networks_measured": made.provenance.n_networks,
        "transferred_from": list(made.provenance.known),
        "held_out_networks": accuracy.n_networks,
        "held_out_mape": accuracy.mape,
        "held_out_within_10_percent": accuracy.within_10,
        "held_out_kendall_tau": accuracy.tau,
        "floor_mape": made.validation.floor.mape,
    }
    came_from = f"carried over from: {made.provenance.known[0]}\n" if made.provenance.known else ""
    text = (
        f"{made.facts.cpu_model}, {made.facts.n_threads} thread(s)\n"
        f"{made.provenance.n_networks} networks measured in {made.provenance.duration_s:.0f} s; "
        f"on {accuracy.n_networks} networks of other families the predictor is off by "
        f"{accuracy.mape:.1%} (two measurements of the same differ by "
        f"{made.validation.floor.mape:.1%})\n"
        f"{came_from}"
        f"profile: {lines['profile']}\nreport:  {lines['report']}"
    )
    print_result(as_json, lines, text)


@app.command()
def search(
    space: SpaceName,
    data: DataText,
    profile: ProfileFolders,
    out: Out,
    max_latency: MaxLatencies = None,
    max_size: MaxSize = None,
    max_memory: MaxMemory = None,
    quantile: Quantile = "p50",
    strategy: StrategyName = "simq",
    resolution: Resolution = None,
    mean: Mean = None,
    std: Std = None,
    evaluations: Evaluations = None,
    epochs: Epochs = None,
    query_epochs: QueryEpochs = None,
    sampling: Sampling = "sandwich",
    supernet: Supernet = None,
    study: Study = "",
    objectives: Objectives = None,
    workers: WorkerCount = 0,
    ray: RayAddress = "",
    trainers: Trainers = 1,
    quick: Quick = False,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Search networks that keep the limits.

    Trains a supernet, costs candidates with the predictors of the profiles, measures the best.
    """
    wanted = objectives.split(",") if objectives else None
    walls = _limits_of_each(max_latency or [], len(profile), max_size, max_memory, quantile)
    _check_inputs(space, data, out, supernet)
    from edgekit.devices.profile import DeviceProfile
    from edgekit.devices.shipped import profile_folder
    from edgekit.search.workers import Staff
    from edgekit.workflow import run_search, run_search_on_devices, space_for

    staff, progress = Staff(workers, ray, trainers), Progress(quiet=as_json)
    folders = {path.resolve().name: profile_folder(path) for path in profile}
    if len(folders) < len(profile):
        raise InputError(
            "several profiles are told apart by the names of their folders, got "
            f"{', '.join(map(str, profile))}; give them different names"
        )
    known = {name: DeviceProfile.load(folder) for name, folder in folders.items()}
    task = normalised(load(data, seed, resolution, progress), mean, std)
    name, *others = known
    chosen = space_for(space, task, known[name].facts, narrow=quick, supernet=supernet)
    effort = _effort(
        strategy,
        space,
        quick,
        len(task.train),
        evaluations=evaluations,
        supernet=epochs,
        query=query_epochs,
        sampling=sampling,
    )
    if others:
        found = run_search_on_devices(
            chosen,
            task,
            known,
            out=out,
            limits=dict(zip(known, walls, strict=True)),
            strategy=strategy,
            seed=seed,
            effort=effort,
            data=data,
            profile_folders={name: str(folder) for name, folder in folders.items()},
            supernet=supernet,
            study=study,
            objectives=wanted,
            staff=staff,
            progress=progress,
        )
        _print_runs(found, as_json)
        return
    run = run_search(
        chosen,
        task,
        known[name],
        out=out,
        limits=walls[0],
        strategy=strategy,
        seed=seed,
        effort=effort,
        data=data,
        profile_folder=str(folders[name]),
        supernet=supernet,
        study=study,
        objectives=wanted,
        staff=staff,
        progress=progress,
    )
    _print_run(run, as_json)


@app.command()
def resume(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    model: Model = None,
    workers: WorkerCount = 0,
    ray: RayAddress = "",
    trainers: Trainers = 1,
    as_json: AsJson = False,
) -> None:
    """Go on with a search that was interrupted."""
    _need(run / "run.json", "a run folder")
    _check_model(model)
    from edgekit.search.settings import read_settings
    from edgekit.search.workers import Staff
    from edgekit.spaces import module_space
    from edgekit.workflow import resume_search, task_of

    staff, progress = Staff(workers, ray, trainers), Progress(quiet=as_json)
    task = task_of(read_settings(run), progress)
    space = module_space(model, task) if model else None
    _print_run(resume_search(run, task, space=space, staff=staff, progress=progress), as_json)


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    out: Out,
    model: Model = None,
    candidate: Annotated[
        str | None, typer.Option("--candidate", help="Genes of a candidate; default: the best.")
    ] = None,
    max_latency: MaxLatency = None,
    max_size: MaxSize = None,
    max_memory: MaxMemory = None,
    quantile: Quantile = "p50",
    finetune_epochs: FinetuneEpochs = None,
    int8_tolerance: Int8Tolerance = INT8_TOLERANCE,
    quick: Quick = False,
    as_json: AsJson = False,
) -> None:
    """Fine-tune a candidate and write a bundle."""
    limits = _limits(max_latency, max_size, max_memory, quantile)
    _need(run / "run.json", "a run folder")
    _check_model(model)
    check_out(out)
    from edgekit.core.candidate import Candidate
    from edgekit.search.settings import read_settings
    from edgekit.spaces import module_space
    from edgekit.workflow import export_bundle, resume_search, task_of

    progress = Progress(quiet=as_json)
    chosen = Candidate.parse(candidate) if candidate else None
    task = task_of(read_settings(run), progress)
    space = module_space(model, task) if model else None
    finished = resume_search(run, task, space=space, progress=progress)
    bundle = export_bundle(
        finished,
        task,
        out,
        candidate=chosen,
        limits=limits if limits.limited else None,
        effort=_effort("", model or "", quick, len(task.train), finetune=finetune_epochs),
        int8_tolerance=int8_tolerance,
        progress=progress,
    )
    size = bundle.model_path.stat().st_size
    genes = Candidate(bundle.manifest.provenance.genes).text
    lines = {"bundle": str(bundle.folder), "candidate": genes, "size_bytes": size}
    text = (
        f"bundle: {out} ({format_size(size)}, candidate {genes})\n"
        f"not verified yet: edgekit verify {out}"
    )
    print_result(as_json, lines, text)


@app.command()
def verify(
    bundle: Annotated[Path, typer.Argument(help="Bundle folder, or the halves of a split.")],
    data: DataText,
    target: TargetText = "local",
    max_latency: MaxLatency = None,
    max_size: MaxSize = None,
    max_memory: MaxMemory = None,
    quantile: Quantile = "p50",
    report: Annotated[
        Path | None, typer.Option("--report", help="Also write a page to this file.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure all that a bundle promises again."""
    limits, device = _limits(max_latency, max_size, max_memory, quantile), Target(target)
    check_data(data)
    if report is not None:
        check_out(report.parent)
    progress = Progress(quiet=as_json)
    if (bundle / "split.json").is_file():
        if limits.limited or report:
            raise InputError(
                f"halves are verified without limits and without a page, {bundle} holds halves, "
                "got --max-latency, --max-size, --max-memory or --report; leave them out"
            )
        cli_split.verify_halves_of(bundle, data, device, progress, as_json=as_json)
        return
    from edgekit.export.bundle import Bundle
    from edgekit.workflow import verify_bundle, write_verify_report

    opened = Bundle.open(bundle)
    made = opened.manifest.provenance.task
    side = opened.preprocessing.resolution
    task = load(data, made.seed, side, progress)
    asked = limits if limits.limited else None
    proof = verify_bundle(opened, device, task, limits=asked, progress=progress)
    if report is not None:
        write_verify_report(report, opened, proof, task, command_line())
    if proof.holds or not as_json:
        print_result(as_json, _proof_lines(proof), _proof_text(proof))
    proof.require()


@app.command()
def fit(
    space: SpaceName,
    data: DataText,
    out: Out,
    target: TargetText = "local",
    max_latency: MaxLatency = None,
    max_size: MaxSize = None,
    max_memory: MaxMemory = None,
    quantile: Quantile = "p50",
    strategy: StrategyName = "simq",
    resolution: Resolution = None,
    mean: Mean = None,
    std: Std = None,
    evaluations: Evaluations = None,
    epochs: Epochs = None,
    query_epochs: QueryEpochs = None,
    sampling: Sampling = "sandwich",
    finetune_epochs: FinetuneEpochs = None,
    int8_tolerance: Int8Tolerance = INT8_TOLERANCE,
    profile: Annotated[
        Path | None,
        typer.Option("--profile", help="Folder or name; default: make one."),
    ] = None,
    supernet: Supernet = None,
    study: Study = "",
    objectives: Objectives = None,
    workers: WorkerCount = 0,
    ray: RayAddress = "",
    trainers: Trainers = 1,
    quick: Quick = False,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Deliver a measured artifact: all of it in a row.

    Profiles, searches, exports and verifies until an artifact was measured to keep the limits.
    """
    limits, device = _limits(max_latency, max_size, max_memory, quantile), Target(target)
    wanted = objectives.split(",") if objectives else None
    _check_inputs(space, data, out, supernet)
    from edgekit.search.workers import Staff
    from edgekit.workflow import REPORT
    from edgekit.workflow import fit as fit_space

    staff, progress = Staff(workers, ray, trainers), Progress(quiet=as_json)
    task = normalised(load(data, seed, resolution, progress), mean, std)
    fitted = fit_space(
        task,
        out,
        limits=limits,
        target=device,
        space=space,
        strategy=strategy,
        seed=seed,
        effort=_effort(
            strategy,
            space,
            quick,
            len(task.train),
            evaluations=evaluations,
            supernet=epochs,
            query=query_epochs,
            sampling=sampling,
            finetune=finetune_epochs,
        ),
        int8_tolerance=int8_tolerance,
        quick_profile=quick,
        profile=profile,
        supernet=supernet,
        study=study,
        objectives=wanted,
        staff=staff,
        data=data,
        command=command_line(),
        progress=progress,
    )
    places = {"artifact": str(fitted.bundle.model_path), "report": str(out / REPORT)}
    genes = fitted.entry.candidate.text
    notes = "".join(f"{block}: {note}\n" for block, note in fitted.notes.items())
    text = (
        f"{_proof_text(fitted.proof)}\n{notes}candidate: {genes}\n"
        f"artifact: {places['artifact']}\nreport:   {places['report']}"
    )
    lines = {**places, "candidate": genes, **_proof_lines(fitted.proof), "notes": fitted.notes}
    print_result(as_json, lines, text)


def main() -> NoReturn:
    """Run a verb; an error becomes one sentence on stderr, with --json an object, and a code."""
    keep_stdout()
    try:
        exit_code = app(standalone_mode=False)
    except Infeasible as error:
        _fail(
            "Infeasible", str(error), error.exit_code, binding=error.binding, nearest=error.nearest
        )
    except EdgekitError as error:
        _fail(type(error).__name__, str(error), error.exit_code)
    except typer.TyperException as error:
        message = f"{error.format_message().rstrip('.')}; try --help"
        _fail("InputError", message, InputError.exit_code)
    except OSError as error:
        message = f"a file or folder cannot be used: {error}; check path, rights and free space"
        _fail("InputError", message, InputError.exit_code)
    if exit_code == _INTERRUPTED:
        _fail("Interrupted", "stopped; the same command, or edgekit resume, goes on", exit_code)
    sys.exit(exit_code)


def _fail(kind: str, message: str, exit_code: int, **more: str) -> NoReturn:
    message = " ".join(message.split())
    if "--json" in sys.argv:
        print(json.dumps({"error": kind, "message": message, "exit_code": exit_code, **more}))
    print(f"edgekit: {message}", file=sys.stderr)
    sys.exit(exit_code)


def _limits(
    max_latency: str | None, max_size: str | None, max_memory: str | None, quantile: str
) -> Limits:
    if quantile != QUANTILES[0] and max_latency is None:
        raise InputError(
            f"--quantile says which latency --max-latency is on, got {quantile} without that; "
            "give both or neither"
        )
    return Limits.of(max_latency, max_size, quantile, max_memory)


def _limits_of_each(
    max_latencies: list[str],
    n_devices: int,
    max_size: str | None,
    max_memory: str | None,
    quantile: str,
) -> list[Limits]:
    """Limits of each device: none has a latency, or all have one of their own."""
    if len(max_latencies) not in (0, n_devices):
        raise InputError(
            f"each --profile has a --max-latency or none has, got {n_devices} profiles and "
            f"{len(max_latencies)} latencies; give them in the same order"
        )
    each: Sequence[str | None] = max_latencies or [None] * n_devices
    return [_limits(latency, max_size, max_memory, quantile) for latency in each]


def _check_inputs(space: str, data: str, out: Path, supernet: Path | None) -> None:
    if ":" in space:
        ModuleText.parse(space)
    elif space != "mbconv":
        raise InputError(
            f"a search space is mbconv, or a module of yours as FILE.py:NAME, got {space!r}"
        )
    check_data(data)
    check_out(out)
    if supernet is not None:
        _need(supernet / "run.json", "a run folder")


def _check_model(model: str | None) -> None:
    if model is not None:
        ModuleText.parse(model)


def _need(path: Path, what: str) -> None:
    if not path.is_file():
        raise InputError(f"{what} is needed, {path} is not there; check the path")


def _effort(
    strategy: str,
    space: str,
    quick: bool,
    n_train: int,
    *,
    evaluations: int | None = None,
    supernet: int | None = None,
    query: int | None = None,
    finetune: int | None = None,
    sampling: str = "sandwich",
) -> Effort:
    """That of a strategy, with the epochs that were given."""
    from dataclasses import replace

    from edgekit.effort import effort_for

    effort = effort_for(strategy, is_pretrained=":" in space, is_quick=quick)
    if evaluations is not None:
        effort = replace(effort, n_evaluations=evaluations)
    if supernet is not None:
        effort = replace(effort, supernet_images=supernet * n_train)
    if query is not None:
        effort = replace(effort, query_images=query * n_train)
    if finetune is not None:
        effort = replace(effort, finetune_images=finetune * n_train)
    effort = replace(effort, sampling=sampling)
    if space and ":" not in space and not (effort.supernet_images or effort.query_images):
        raise InputError(
            f"{space} has no weights before it is trained, got --epochs 0; give 1 or more, or "
            "--query-epochs"
        )
    return effort


def _weights(run: Run) -> str:
    """What its accuracies were measured with."""
    if run.settings.query:
        return "trained alone for a while; export trains longer"
    return "shared weights; export fine-tunes"


def _print_run(run: Run, as_json: bool) -> None:
    from edgekit.workflow import candidates_text

    best = run.best()
    text = (
        f"{len(run.measured)} candidates measured, {len(run.front())} on the measured front\n"
        f"best inside {run.settings.limits.describe()}: {best.accuracy.top1:.2%} on validation, "
        f"p50 {format_duration(best.latency.p50_s)}, {format_size(best.size_bytes)}"
        f"{_memory_text(best.memory_bytes)} "
        f"({_weights(run)})\nrun: {run.folder}"
    )
    lines = {
        "run": str(run.folder),
        "best": candidates_text([best])[0],
        "front": candidates_text(run.front()),
        "n_measured": len(run.measured),
    }
    print_result(as_json, lines, text)


def _print_runs(found: DeviceRuns, as_json: bool) -> None:
    from edgekit.workflow import candidates_text

    best, shared = found.best(), found.compromise()
    n_measured = len(next(iter(found.runs.values())).measured)
    text = f"{n_measured} candidates measured on {len(best)} devices\n"
    for name, entry in best.items():
        text += (
            f"{name}: {entry.accuracy.top1:.2%} on validation, "
            f"p50 {format_duration(entry.latency.p50_s)}, {format_size(entry.size_bytes)}, inside "
            f"{found.runs[name].settings.limits.describe()}; run: {found.runs[name].folder}\n"
        )
    if shared is None:
        text += "for all of them: no measured network keeps the limits of every device"
    else:
        each = ", ".join(
            f"{name} p50 {format_duration(entry.latency.p50_s)} and "
            f"{100 * shared.regrets[name]:.2f} points less than its best"
            for name, entry in shared.entries.items()
        )
        some = next(iter(shared.entries.values()))
        text += (
            f"for all of them: {some.accuracy.top1:.2%} on validation, "
            f"{format_size(some.size_bytes)}, candidate {shared.candidate.text}: {each}"
        )
    lines: dict[str, object] = {
        "n_measured": n_measured,
        "devices": {
            name: {
                "run": str(run.folder),
                "best": candidates_text([best[name]])[0],
                "front": candidates_text(run.front()),
            }
            for name, run in found.runs.items()
        },
        "compromise": None
        if shared is None
        else {
            "candidate": shared.candidate.text,
            "devices": {n: candidates_text([e])[0] for n, e in shared.entries.items()},
            "regrets_top1": dict(shared.regrets),
        },
    }
    print_result(as_json, lines, text)


def _proof_lines(proof: Proof) -> dict[str, object]:
    return {
        "holds": proof.holds,
        "failures": list(proof.failures),
        "top1_test": proof.accuracy.top1,
        "n_test_images": proof.accuracy.n_images,
        "latency_p50_s": proof.latency.p50_s,
        "latency_interval_s": list(proof.latency.interval_s),
        "latency_p90_s": proof.latency.p90_s,
        "size_bytes": proof.size_bytes,
        "memory_bytes": proof.memory_bytes,
        "limits": proof.limits.describe(),
    }


def _proof_text(proof: Proof) -> str:
    low, high = proof.accuracy.interval
    shortest, longest = (format_duration(value) for value in proof.latency.interval_s)
    memory = _memory_text(proof.memory_bytes)
    verdict = "holds" if proof.holds else "does not hold: " + "; ".join(proof.failures)
    return (
        f"measured on {proof.target}: top-1 {proof.accuracy.top1:.2%} "
        f"({low:.1%} to {high:.1%}) on {proof.accuracy.n_images} test images, "
        f"p50 {format_duration(proof.latency.p50_s)} ({shortest} to {longest}), "
        f"p90 {format_duration(proof.latency.p90_s)}, {format_size(proof.size_bytes)}{memory}\n"
        f"{proof.limits.describe()}: {verdict}"
    )


def _memory_text(memory_bytes: int | None) -> str:
    return "" if memory_bytes is None else f", {format_size(memory_bytes)} of memory at its peak"
