"""The stages as functions, and ``fit``, which is all of them: the only place where rooms meet.

profile_target --> run_search --> export_bundle --> verify_bundle
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from edgekit.beginning import check_search, effort_of, provenance, settings_of, take_over
from edgekit.core.candidate import Candidate
from edgekit.core.errors import InputError
from edgekit.core.figures import Measured
from edgekit.core.limits import Limits
from edgekit.core.precision import INT8_TOLERANCE, Precision
from edgekit.core.progress import Progress
from edgekit.core.target import Target
from edgekit.core.task import Task, load_task
from edgekit.devices.measuring.measure import LONG_PATIENCE_S, measure_models
from edgekit.devices.probe import DeviceFacts, probe
from edgekit.devices.profile import PROFILE_FILE, DeviceProfile, profile_device
from edgekit.devices.shipped import profile_folder
from edgekit.devices.transferring import N_NETWORKS, profile_by_transfer
from edgekit.devices.transferring import PLAN as TRANSFER
from edgekit.effort import Effort, effort_for
from edgekit.export.bundle import Bundle, check_place, write_bundle
from edgekit.export.manifest import Provenance, TaskRecord
from edgekit.export.onnx_model import export_onnx
from edgekit.export.parity import take_probe
from edgekit.export.quantise import quantise_blocks
from edgekit.export.verify import Proof, verify
from edgekit.report.fitted import Attempted, Fitted, fit_report, profile_report, verify_report
from edgekit.report.page import render_fit, render_profile, render_verify, write_report
from edgekit.search.chooser import Chooser
from edgekit.search.elastic.space import ElasticRecipe, ElasticSpace
from edgekit.search.evaluated import Evaluated
from edgekit.search.finalists import with_finalists
from edgekit.search.finetuning import finetuned, fit_for_int8
from edgekit.search.precision import settle_precision
from edgekit.search.run import Run, execute
from edgekit.search.settings import RunSettings, objectives_of, read_settings, write_settings
from edgekit.search.several import DeviceRuns, execute_on_devices
from edgekit.search.space import precisions_of
from edgekit.search.strategies import BY_SCORES
from edgekit.search.workers import Staff
from edgekit.spaces import AnySpace, fitting_recipe, networks_of, space_of, space_of_run
from edgekit.training.loop import TrainRecipe

REPORT = "report.html"


def profile_target(
    target: Target | str = "local",
    out: Path | str = "build/profile",
    *,
    quick: bool = False,
    known: Sequence[Path | str] = (),
    n_networks: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> DeviceProfile:
    """Profile a target into a folder, or load what lies there if it holds and is fine enough.

    Args:
        target: the device and its thread count.
        out: folder of the profile; ``report.html`` is left beside it.
        quick: two minutes instead of up to twenty, with a coarser predictor.
        known: profiles of other targets, by folder or shipped name: their predictors are carried
            over to this one by timing a few whole networks here, which also serves providers that
            hide their kernels. A transfer in ``out`` is made anew. Empty to time kernels.
        n_networks: networks such a transfer is fitted on, 10 to 265; None for 20.
        seed: of the plan, the order and the fit.
        progress: how to show it; None for stderr.

    Raises:
        InputError: the folder holds a file of that name that is no profile, or a profile whose
            kernels were timed and which a transfer would replace; a known one cannot be used.
        TooNoisy: the machine did not allow labels that repeat.
    """
    target, out, progress = _target(target), Path(out), progress or Progress()
    there = DeviceProfile.load(out) if (out / PROFILE_FILE).is_file() else None
    plan = "" if there is None else there.provenance.plan
    command = f"edgekit profile '{target.text}' --out {out}" + " --quick" * quick
    if known:
        if there is not None and plan != TRANSFER:
            raise InputError(
                f"a profile whose kernels were timed lies in {out}, a transfer would replace it; "
                "choose another --out"
            )
        profiles = [DeviceProfile.load(profile_folder(folder)) for folder in known]
        n_networks = N_NETWORKS if n_networks is None else n_networks
        profile = profile_by_transfer(
            target, out, profiles, n_networks=n_networks, seed=seed, progress=progress
        )
        command += "".join(f" --from {folder}" for folder in known)
        command += f" --networks {n_networks}"
    else:
        fine = plan != TRANSFER and (quick or plan != "quick")
        if there is not None and fine and there.facts.fingerprint == probe(target).fingerprint:
            return there
        profile = profile_device(target, out, quick=quick, seed=seed, progress=progress)
    write_report(out / REPORT, render_profile(profile_report(profile, command)))
    return profile


def run_search(
    space: AnySpace,
    task: Task,
    profile: DeviceProfile,
    *,
    out: Path | str,
    limits: Limits | None = None,
    strategy: str = "simq",
    seed: int = 0,
    effort: Effort | None = None,
    data: str = "",
    profile_folder: str = "",
    supernet: Path | None = None,
    study: str = "",
    objectives: Sequence[str] | None = None,
    staff: Staff | None = None,
    progress: Progress | None = None,
) -> Run:
    """Train a supernet and search it under limits; the same call again goes on where it stopped.

    Args:
        space: what may be chosen.
        task: the data; its test split is not read.
        profile: of the device, made on this machine and runtime.
        out: run folder.
        limits: walls on measured latency, size and peak memory; None for none.
        strategy: a name in ``edgekit.search.strategies.STRATEGIES``.
        seed: of every random choice.
        effort: how much to train and to measure; None for what its kind of space is given.
        data: what ``load_task`` needs to load the task again, for ``resume_search``.
        profile_folder: where the profile lies, for ``resume_search``.
        supernet: run folder whose trained supernet is taken over; of the same space, data and
            seed. On the same device the networks it measured for its cost table are taken too.
        study: address of a PostgreSQL database for the trials, ``postgresql://USER@HOST/NAME``;
            empty for SQLite in the run folder.
        objectives: what is made small besides the error, some of ``"latency"``, ``"size"`` and
            ``"memory"``; None for the first two. What is limited is one of them anyway.
        staff: who judges the candidates; None for this process.
        progress: how to show it; None for stderr.

    Raises:
        InputError: the folder holds another run, or the profile is of another machine.
        TooNoisy: a latency could not be had; call again to go on.
    """
    folder, effort = Path(out), effort or effort_of(strategy, space)
    check_search(space, strategy, effort, supernet, task, seed, staff, study)
    settings = settings_of(
        space,
        task,
        profile,
        limits=limits,
        strategy=strategy,
        seed=seed,
        effort=effort,
        data=data,
        profile_folder=profile_folder,
        study=study,
        objectives=objectives,
    )
    write_settings(folder, settings, provenance())
    if supernet is not None:
        take_over(supernet, folder, settings)
    progress = progress or Progress()
    run = execute(
        folder,
        networks_of(space),
        settings,
        task,
        profile.predictor,
        staff=staff or Staff(),
        progress=progress,
    )
    return with_finalists(run, task, progress=progress)


def run_search_on_devices(
    space: AnySpace,
    task: Task,
    profiles: Mapping[str, DeviceProfile],
    *,
    out: Path | str,
    limits: Mapping[str, Limits],
    strategy: str = "simq",
    seed: int = 0,
    effort: Effort | None = None,
    data: str = "",
    profile_folders: Mapping[str, str] | None = None,
    supernet: Path | None = None,
    study: str = "",
    objectives: Sequence[str] | None = None,
    staff: Staff | None = None,
    progress: Progress | None = None,
) -> DeviceRuns:
    """Search once for several devices; the same call again goes on where it stopped.

    Each candidate is judged once and timed on every device, one after the other. Each device has a
    run folder of its own in ``out``, from which bundles are exported.

    Args:
        space: as ``run_search`` takes it.
        task: as ``run_search`` takes it.
        profiles: of each device, made on this machine and runtime, by a name that is a folder's.
        out: folder of the run folders.
        limits: walls for each device, by its name.
        strategy: a name in ``STRATEGIES`` that needs no metrics and no gates.
        seed: of every random choice.
        effort: how much to train, and how many candidates to measure in all.
        data: as ``run_search`` takes it.
        profile_folders: where each profile lies, by name, for ``resume_search``.
        supernet: as ``run_search`` takes it.
        study: as ``run_search`` takes it.
        objectives: as ``run_search`` takes them; a limit on one device makes it one for all.
        staff: as ``run_search`` takes it.
        progress: how to show it; None for stderr.

    Raises:
        InputError: fewer than two devices, a strategy that cannot serve them; as ``run_search``.
        TooNoisy: a latency could not be had; call again to go on.
    """
    if len(profiles) < 2 or set(limits) != set(profiles):
        raise InputError(
            "several devices have a profile and limits each, got profiles of "
            f"{', '.join(profiles)} and limits for {', '.join(limits)}; give both for two or more"
        )
    if strategy in BY_SCORES:
        raise InputError(
            f"several devices are searched by a strategy that only asks and measures, {strategy} "
            "makes up its mind for one device; take simq or another"
        )
    effort = effort or effort_of(strategy, space)
    check_search(space, strategy, effort, supernet, task, seed, staff, study)
    known_folders = profile_folders or {}
    wanted = {name for wall in limits.values() for name in objectives_of(objectives, wall)}
    settings = {
        name: settings_of(
            space,
            task,
            profile,
            limits=limits[name],
            strategy=strategy,
            seed=seed,
            effort=effort,
            data=data,
            profile_folder=known_folders.get(name, ""),
            study=study,
            objectives=sorted(wanted),
        )
        for name, profile in profiles.items()
    }
    folders = {name: Path(out) / name for name in profiles}
    origin = provenance()
    for name, folder in folders.items():
        write_settings(folder, settings[name], origin)
        if supernet is not None:
            take_over(supernet, folder, settings[name])
    progress = progress or Progress()
    found = execute_on_devices(
        folders,
        networks_of(space),
        settings,
        task,
        {name: profile.predictor for name, profile in profiles.items()},
        staff=staff or Staff(),
        progress=progress,
    )
    finished = {n: with_finalists(run, task, progress=progress) for n, run in found.runs.items()}
    return DeviceRuns(finished)


def space_for(
    text: str, task: Task, facts: DeviceFacts, *, narrow: bool, supernet: Path | None
) -> AnySpace:
    """The space behind the text of a command, its widths as the kernels of a device like them.

    Args:
        text: as ``space_of`` takes it.
        task: the data.
        facts: of the device.
        narrow: as ``space_of`` takes it.
        supernet: run folder whose weights are to be taken over, whose widths count then.
    """
    multiple = facts.vector_channels
    recipe = None if supernet is None else read_settings(supernet).space
    if isinstance(recipe, ElasticRecipe):
        multiple = recipe.multiple
    return space_of(text, task, narrow=narrow, multiple=multiple)


def resume_search(
    folder: Path | str,
    task: Task | None = None,
    *,
    space: ElasticSpace | None = None,
    staff: Staff | None = None,
    progress: Progress | None = None,
) -> Run:
    """Go on with a search that was interrupted, or load a finished one.

    Args:
        folder: run folder.
        task: the data; None loads it from where the run had it.
        space: of the module, where the run searches one: no code is loaded from a run folder.
        staff: who judges the candidates; None for this process.
        progress: how to show it; None for stderr.

    Raises:
        InputError: not a run, other data or another module than before, or a profile that no
            longer holds.
    """
    folder, progress = Path(folder), progress or Progress()
    settings = read_settings(folder)
    recipe, staff = settings.training or settings.query, staff or Staff()
    staff.check(recipe.batch_size if recipe else staff.n_trainers)
    task = task or task_of(settings, progress)
    if task.source["sha256"] != settings.data_sha256:
        raise InputError(
            f"a run goes on with the data it began with, {settings.data or 'the task'} is not that"
        )
    task = task.normalised(settings.mean, settings.std)
    profile = DeviceProfile.load(Path(settings.profile))
    profile.check_current(Target(settings.target))
    networks = networks_of(space_of_run(settings, space))
    run = execute(
        folder,
        networks,
        settings,
        task,
        profile.predictor,
        staff=staff or Staff(),
        progress=progress,
    )
    return with_finalists(run, task, progress=progress)


def task_of(settings: RunSettings, progress: Progress) -> Task:
    """The data of a run, loaded again.

    Raises:
        InputError: the run was given data in memory.
    """
    if not settings.data:
        raise InputError("the run was given data in memory; hand the same task in again")
    task = load_task(
        settings.data,
        seed=settings.seed,
        resolution=settings.space.resolution,
        progress=progress,
    )
    return task.normalised(settings.mean, settings.std)


def export_bundle(
    run: Run,
    task: Task,
    out: Path | str,
    *,
    candidate: Candidate | None = None,
    limits: Limits | None = None,
    effort: Effort | None = None,
    int8_tolerance: float = INT8_TOLERANCE,
    progress: Progress | None = None,
) -> Bundle:
    """Fine-tune a candidate, export it, quantise its int8 blocks and write the bundle.

    Args:
        run: a finished search.
        task: the data of the run.
        out: folder of the bundle.
        candidate: which one; None for the best measured one inside the limits.
        limits: recorded in the manifest; None for those of the run.
        effort: how long to fine-tune; None for what its kind of space is given.
        int8_tolerance: share of the validation images, 0..1, that int8 may cost a module's network
            before it is trained on with int8 rounded.
        progress: how to show it; None for stderr.

    Raises:
        Infeasible: no candidate is given and none is inside the limits.
        InputError: the folder holds something else than a bundle.
    """
    progress, limits = progress or Progress(), limits or run.settings.limits
    candidate = candidate or run.best(limits).candidate
    run.space.check(candidate)
    check_place(Path(out).absolute())
    task = task.normalised(run.settings.mean, run.settings.std)
    seed = run.settings.seed
    weight_max = probe(Target(run.settings.target)).int8_weight_max
    net = _finally_trained(run, candidate, task, effort, weight_max, int8_tolerance, progress)
    precisions = precisions_of(run.space, candidate)
    int8 = [block for block, precision in precisions.items() if precision is Precision.INT8]
    folded = run.networks.folded(net)
    plain = export_onnx(folded, run.settings.space.resolution, run.networks.block_paths(folded))
    images = task.preprocessing.apply(task.calibration.images)
    return write_bundle(
        out,
        model=quantise_blocks(
            plain, int8, images, weight_max=weight_max, n_threads=torch.get_num_threads()
        ),
        preprocessing=task.preprocessing,
        labels=task.labels,
        probe=take_probe(
            net,
            plain,
            int8,
            task,
            weight_max=weight_max,
            simulates=run.networks.simulates_int8,
        ),
        provenance=Provenance(
            space=run.space.name,
            genes=candidate.genes,
            precisions=precisions,
            limits=limits,
            target=run.settings.target,
            device_fingerprint=run.settings.fingerprint,
            reference_fast_s=run.settings.reference_fast_s,
            task=TaskRecord.of(task),
            seeds={"search": seed, "fine-tuning": seed + 2},
        ),
    )


def trained_network(
    run: Run,
    task: Task,
    *,
    candidate: Candidate | None = None,
    effort: Effort | None = None,
    progress: Progress | None = None,
) -> nn.Module:
    """A candidate of a run in float32, fine-tuned as for export and kept in the run folder.

    Args:
        run: a finished search.
        task: the data of the run.
        candidate: which one; None for the best measured one inside the limits.
        effort: how long to fine-tune; None for what its kind of space is given.
        progress: how to show it; None for stderr.

    Raises:
        Infeasible: no candidate is given and none is inside the limits.
    """
    candidate = candidate or run.best().candidate
    run.space.check(candidate)
    task = task.normalised(run.settings.mean, run.settings.std)
    recipe = _last_recipe(run, task, effort)
    progress = progress or Progress()
    return finetuned(run.networks, run.folder, candidate, task, recipe, progress=progress)


def _last_recipe(run: Run, task: Task, effort: Effort | None) -> TrainRecipe | None:
    pretrained = run.networks.is_pretrained
    effort = effort or effort_for(run.settings.strategy, is_pretrained=pretrained)
    seed = run.settings.seed + 2
    return effort.recipe(task, effort.finetune_images, seed, is_pretrained=pretrained)


def _finally_trained(
    run: Run,
    candidate: Candidate,
    task: Task,
    effort: Effort | None,
    weight_max: int,
    int8_tolerance: float,
    progress: Progress,
) -> nn.Module:
    """The network of a candidate as it is exported."""
    recipe = _last_recipe(run, task, effort)
    net = finetuned(run.networks, run.folder, candidate, task, recipe, progress=progress)
    if recipe is None:
        return net
    net, note = fit_for_int8(
        run.networks,
        run.folder,
        candidate,
        net,
        task,
        recipe,
        weight_max=weight_max,
        tolerance=int8_tolerance,
        progress=progress,
    )
    if note:
        progress.say(note)
    return net


def verify_bundle(
    bundle: Bundle | Path | str,
    target: Target | str,
    task: Task,
    *,
    limits: Limits | None = None,
    progress: Progress | None = None,
) -> Proof:
    """Measure a bundle again on a target; the proof is left beside its files.

    A proof that does not hold is returned too: call its ``require`` to raise.

    Args:
        bundle: the bundle or its folder.
        target: where.
        task: gives the test split.
        limits: what must hold; None for the limits in the manifest.
        progress: how to show it; None for stderr.

    Raises:
        VerificationFailed: a file of the bundle is not what its manifest says.
        TooNoisy: the latency cannot be had with a sound interval.
    """
    opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    return verify(opened, _target(target), task, limits=limits, progress=progress or Progress())


def write_verify_report(
    path: Path, bundle: Bundle, proof: Proof, task: Task, command: str
) -> None:
    """The page of a verification."""
    write_report(path, render_verify(verify_report(bundle, proof, task, command)))


def fit(
    task: Task,
    out: Path | str,
    *,
    limits: Limits,
    target: Target | str = "local",
    space: str | ElasticSpace = "mbconv",
    strategy: str = "simq",
    seed: int = 0,
    effort: Effort | None = None,
    int8_tolerance: float = INT8_TOLERANCE,
    quick_profile: bool = False,
    profile: Path | None = None,
    supernet: Path | None = None,
    study: str = "",
    objectives: Sequence[str] | None = None,
    staff: Staff | None = None,
    data: str = "",
    command: str = "",
    progress: Progress | None = None,
) -> Fitted:
    """Profile, search, export and verify, until a measured artifact keeps the limits.

    Writes ``profile/``, ``run/``, ``bundle/`` and ``report.html`` below ``out``. The same call
    again goes on where it stopped.

    Args:
        task: the data.
        out: folder for everything.
        limits: what the artifact must keep when it is measured after export.
        target: the device.
        space: ``"mbconv"``, ``"FILE.py:NAME"``, or the space of a module.
        strategy: a name in ``edgekit.search.strategies.STRATEGIES``.
        seed: of every random choice.
        effort: how much to train and to measure; None for what its kind of space is given.
        int8_tolerance: as ``export_bundle`` takes it.
        quick_profile: make a quick profile where none is given.
        profile: folder of a profile, or the name of a shipped one; None to make one in
            ``out/profile``.
        supernet: run folder whose trained supernet is taken over; of the same space, data and
            seed.
        study: as ``run_search`` takes it.
        objectives: as ``run_search`` takes them.
        staff: who judges the candidates of the search; None for this process.
        data: what ``load_task`` needs to load the task again.
        command: how the report says it is made again.
        progress: how to show it; None for stderr.

    Raises:
        InputError: an argument that cannot be used, said before any work is done.
        Infeasible: no candidate keeps the limits; names the binding one and the nearest pair.
        VerificationFailed: the artifact keeps the limits but not its parity bounds.
        TooNoisy: a figure could not be had; call again to go on.
    """
    out, target, progress = Path(out), _target(target), progress or Progress()
    narrow = effort is not None and effort.narrow
    chosen: AnySpace = (
        space_for(space, task, probe(target), narrow=narrow, supernet=supernet)
        if isinstance(space, str)
        else space
    )
    fitting_recipe(chosen, task)
    work = effort or effort_of(strategy, chosen)
    check_search(chosen, strategy, work, supernet, task, seed, staff, study)
    check_place(out / "bundle")
    if profile is None:
        folder = out / "profile"
        known = profile_target(target, folder, quick=quick_profile, seed=seed, progress=progress)
    else:
        folder = profile_folder(profile)
        known = DeviceProfile.load(folder)
    run = run_search(
        chosen,
        task,
        known,
        out=out / "run",
        limits=limits,
        strategy=strategy,
        seed=seed,
        effort=effort,
        data=data,
        profile_folder=str(folder),
        supernet=supernet,
        study=study,
        objectives=objectives,
        staff=staff,
        progress=progress,
    )
    fitted = _fit_candidates(
        run, known, task, out / "bundle", limits, effort, int8_tolerance, progress
    )
    write_report(out / REPORT, render_fit(fit_report(fitted, known, task, command)))
    fitted.proof.require()
    return fitted


def _fit_candidates(
    run: Run,
    profile: DeviceProfile,
    task: Task,
    out: Path,
    limits: Limits,
    effort: Effort | None,
    int8_tolerance: float,
    progress: Progress,
) -> Fitted:
    """Take candidates best first until one keeps the limits when it is measured again."""
    chooser = Chooser(run, profile.predictor, limits)
    attempts: list[Attempted] = []
    while True:
        chosen = chooser.next()
        entry, notes = settle_precision(run, chosen, task, limits)
        predicted = chooser.table.predicted(entry.candidate)
        again = _measure(run, entry.candidate)
        found = replace(entry, latency=again)
        if found.broken(limits):
            verdict = chooser.reject(chosen.candidate, found)
            attempts.append(Attempted(entry.candidate, predicted, again, verdict))
            continue
        bundle = export_bundle(
            run,
            task,
            out,
            candidate=entry.candidate,
            limits=limits,
            effort=effort,
            int8_tolerance=int8_tolerance,
            progress=progress,
        )
        proof = verify_bundle(bundle, run.settings.target, task, limits=limits, progress=progress)
        if proof.broken:
            found = replace(
                entry,
                latency=proof.latency,
                size_bytes=proof.size_bytes,
                memory_bytes=proof.memory_bytes,
            )
            verdict = chooser.reject(chosen.candidate, found)
            attempts.append(Attempted(entry.candidate, predicted, proof.latency, verdict))
            continue
        attempts.append(Attempted(entry.candidate, predicted, proof.latency, "keeps the limits"))
        return Fitted(
            chooser.corrected_run(), entry, Bundle.open(out), proof, tuple(attempts), notes
        )


def _measure(run: Run, candidate: Candidate) -> Measured:
    model = run.networks.model(candidate)
    figures = measure_models(
        {candidate.text: model},
        Target(run.settings.target),
        patience_s=LONG_PATIENCE_S,
        known_fast_s=run.settings.reference_fast_s,
    )
    return figures[candidate.text]


def _target(target: Target | str) -> Target:
    return target if isinstance(target, Target) else Target(target)


def candidates_text(entries: Sequence[Evaluated]) -> list[dict[str, object]]:
    """Measured candidates as plain values, for machines."""
    return [
        {
            "candidate": e.candidate.text,
            "top1_validation": e.accuracy.top1,
            "latency_p50_s": e.latency.p50_s,
            "size_bytes": e.size_bytes,
            "memory_bytes": e.memory_bytes,
        }
        for e in entries
    ]
