"""The verb ``split``: a network in a device half and a server half."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgekit.cli_options import (
    AsJson,
    FinetuneEpochs,
    Mean,
    Model,
    Out,
    Resolution,
    Seed,
    Std,
    TargetText,
    print_result,
)
from edgekit.cli_tasks import check_data, check_out, command_line, load, normalised
from edgekit.core.errors import InputError, VerificationFailed
from edgekit.core.module_text import ModuleText
from edgekit.core.precision import Precision
from edgekit.core.progress import Progress
from edgekit.core.target import Target
from edgekit.core.units import format_duration, parse_duration_s

if TYPE_CHECKING:
    from torch import nn

    from edgekit.core.task import Task
    from edgekit.split.bottleneck import Recipe
    from edgekit.split.halves import HalvesProof

app = typer.Typer()
METHODS = ("patches", "entropic-student")


@app.command()
def split(
    model: Annotated[
        str,
        typer.Argument(help="Trained module, FILE.py:NAME, or a run folder: its best network."),
    ],
    out: Out,
    data: Annotated[
        str | None,
        typer.Option("--data", help="As for search; a run folder brings its own."),
    ] = None,
    price: Annotated[
        list[float] | None,
        typer.Option("--price", help="Price of a bit, above 0; again for another rate."),
    ] = None,
    encoder_of: Annotated[
        Path | None,
        typer.Option(
            "--encoder-of", help="One price's folder of another split: same device half."
        ),
    ] = None,
    method: Annotated[
        str, typer.Option("--method", help="patches, or entropic-student as published.")
    ] = "patches",
    cut: Annotated[
        str | None,
        typer.Option(
            "--cut", help="entropic-student: after which operation; default: first stage."
        ),
    ] = None,
    channels: Annotated[
        int | None, typer.Option("--channels", min=1, help="Channels of the latent.")
    ] = None,
    encoder_precision: Annotated[
        Precision,
        typer.Option("--encoder-precision", help="int8: patches trained for it."),
    ] = Precision.FP32,
    max_encoder_latency: Annotated[
        str | None,
        typer.Option("--max-encoder-latency", help="20us: search the sizes of patches; wall."),
    ] = None,
    profile: Annotated[
        str | None, typer.Option("--profile", help="Of the target, for that search.")
    ] = None,
    evaluations: Annotated[
        int, typer.Option("--evaluations", min=1, help="Encoders that search tries.")
    ] = 12,
    query_epochs: Annotated[
        float, typer.Option("--query-epochs", min=0.01, help="Epochs of each of them.")
    ] = 0.5,
    epochs: Annotated[
        float, typer.Option("--epochs", min=0.01, help="Epochs of each of both stages.")
    ] = 10,
    module: Model = None,
    candidate: Annotated[
        str | None,
        typer.Option("--candidate", help="Of a run folder, its genes; default: the best."),
    ] = None,
    finetune_epochs: FinetuneEpochs = None,
    target: TargetText = "local",
    resolution: Resolution = None,
    mean: Mean = None,
    std: Std = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Split a network between a device and a server.

    Trains an encoder that sends few bytes, writes both halves, and sends the test images.
    """
    check_out(out)
    if method not in METHODS:
        raise InputError(f"a method is one of {', '.join(METHODS)}, got {method!r}")
    wall = None if max_encoder_latency is None else parse_duration_s(max_encoder_latency)
    is_set = channels or encoder_of or encoder_precision is not Precision.FP32
    if wall is not None and (method != "patches" or is_set or not price):
        raise InputError(
            "a search for an encoder needs --price and sets the sizes of patches and their "
            "precision, got --encoder-of, --channels, --encoder-precision, another --method or no "
            "price; change that"
        )
    if (wall is None) != (profile is None):
        raise InputError(
            "a search for an encoder has a limit and a profile, got one of them; give "
            "--max-encoder-latency and --profile"
        )
    device, progress = Target(target), Progress(quiet=as_json)
    if Path(model).is_dir():
        if data or resolution or mean or std:
            raise InputError(
                f"a run has its data, {model} is one, got --data, --resolution, --mean or --std "
                "too; leave them out"
            )
        net, task = _of_run(Path(model), module, candidate, finetune_epochs, progress)
    else:
        if candidate or module or finetune_epochs is not None:
            raise InputError(
                f"--candidate, --model and --finetune-epochs are for a run folder, {model} is "
                "none; leave them out"
            )
        net, task = _of_module(model, data, seed, resolution, mean, std, progress)
    from edgekit.splitting import find_encoder, split_model

    sizes = None if encoder_of and not channels else _sizes(method, channels)
    if wall is not None:
        sizes, encoder_precision = find_encoder(
            net,
            task,
            out,
            beta=price[0] if price else 0.0,
            max_latency_s=wall,
            profile=profile or "",
            n_evaluations=evaluations,
            n_epochs=query_epochs,
            target=device,
            seed=seed,
            progress=progress,
        )

    found = split_model(
        net,
        task,
        out,
        betas=price or [],
        encoder_of=encoder_of,
        cut=cut,
        sizes=sizes,
        precision=encoder_precision,
        n_epochs=epochs,
        target=device,
        seed=seed,
        command=command_line(),
        progress=progress,
    )
    rows = [{"price": one.beta, **_row(one.proof, one.halves.folder)} for one in found]
    lines = [f"{'price':>8} {_HEAD}"]
    lines += [f"{one.beta:>8g} {_line(one.proof, one.halves.folder)}" for one in found]
    lines.append(_how(device))
    lines.append(f"report: {out / 'report.html'}")
    print_result(as_json, {"splits": rows}, "\n".join(lines))
    slowest_s = max(one.proof.encoder.p50_s for one in found)
    if wall is not None and slowest_s > wall:
        raise VerificationFailed(
            f"an encoder keeps {format_duration(wall)}, measured again it takes "
            f"{format_duration(slowest_s)}; allow more, or search again in another folder"
        )


def verify_halves_of(
    folder: Path, data: str, device: Target, progress: Progress, *, as_json: bool
) -> None:
    """What ``edgekit verify`` does with halves: the test images are sent again."""
    from edgekit.split.halves import Halves, verify_halves

    halves = Halves.open(folder)
    task = load(data, halves.seed, halves.preprocessing.resolution, progress)
    proof = verify_halves(halves, device, task, progress=progress)
    text = "\n".join([_HEAD, _line(proof, folder), _how(device)])
    print_result(as_json, _row(proof, folder), text)


_HEAD = f"{'top-1':>8} {'bytes':>8} {'encoder':>9} {'server':>9}  halves"


def _row(proof: HalvesProof, folder: Path) -> dict[str, object]:
    return {
        "top1_test": proof.accuracy.top1,
        "payload_bytes": proof.payload_bytes,
        "largest_payload_bytes": proof.largest_payload_bytes,
        "encoder_p50_s": proof.encoder.p50_s,
        "encode_s": proof.encode_s,
        "decode_s": proof.decode_s,
        "server_p50_s": proof.server.p50_s,
        "halves": str(folder),
    }


def _line(proof: HalvesProof, folder: Path) -> str:
    encoder, server = (format_duration(one.p50_s) for one in (proof.encoder, proof.server))
    return (
        f"{proof.accuracy.top1:>8.2%} {proof.payload_bytes:>8.1f} "
        f"{encoder:>9} {server:>9}  {folder}"
    )


def _how(device: Target) -> str:
    return f"measured on {device.text}; payloads of real frames, their 16 bytes apart"


def _sizes(method: str, channels: int | None) -> Recipe:
    from edgekit.split.bottleneck import SMALL
    from edgekit.split.patches import PatchRecipe

    sizes: Recipe = PatchRecipe() if method == "patches" else SMALL
    return replace(sizes, channels=channels) if channels else sizes


def _of_module(
    text: str,
    data: str | None,
    seed: int,
    resolution: int | None,
    mean: str | None,
    std: str | None,
    progress: Progress,
) -> tuple[nn.Module, Task]:
    """A module of the user's, and the data."""
    ModuleText.parse(text)
    if data is None:
        raise InputError("a module is split with data, got none; give --data")
    check_data(data)
    from edgekit.spaces import load_module

    task = normalised(load(data, seed, resolution, progress), mean, std)
    return load_module(text), task


def _of_run(
    folder: Path,
    module: str | None,
    candidate: str | None,
    finetune_epochs: int | None,
    progress: Progress,
) -> tuple[nn.Module, Task]:
    """A network of a run, trained as for export, and the data of the run."""
    from edgekit.core.candidate import Candidate
    from edgekit.effort import effort_for
    from edgekit.search.settings import read_settings
    from edgekit.spaces import module_space
    from edgekit.workflow import resume_search, task_of, trained_network

    settings = read_settings(folder)
    task = task_of(settings, progress)
    space = module_space(module, task) if module else None
    run = resume_search(folder, task, space=space, progress=progress)
    effort = effort_for(settings.strategy, is_pretrained=run.networks.is_pretrained)
    if finetune_epochs is not None:
        effort = replace(effort, finetune_images=finetune_epochs * len(task.train))
    chosen = Candidate.parse(candidate) if candidate else None
    net = trained_network(run, task, candidate=chosen, effort=effort, progress=progress)
    return net, task.normalised(settings.mean, settings.std)
