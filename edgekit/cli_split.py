"""The verb ``split``: a network in a device half and a server half."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from edgekit.cli_options import (
    AsJson,
    DataText,
    Mean,
    Out,
    Resolution,
    Seed,
    Std,
    TargetText,
    print_result,
)
from edgekit.cli_tasks import check_data, check_out, load, normalised
from edgekit.core.module_text import ModuleText
from edgekit.core.progress import Progress
from edgekit.core.target import Target
from edgekit.core.units import format_duration

app = typer.Typer()


@app.command()
def split(
    model: Annotated[str, typer.Argument(help="Trained module, FILE.py:NAME.")],
    data: DataText,
    out: Out,
    price: Annotated[
        list[float],
        typer.Option("--price", help="Price of a bit, above 0; again for another rate."),
    ],
    cut: Annotated[
        str | None, typer.Option("--cut", help="Operation to cut after; default: first stage.")
    ] = None,
    channels: Annotated[
        int | None, typer.Option("--channels", min=1, help="Channels of the latent.")
    ] = None,
    epochs: Annotated[
        float, typer.Option("--epochs", min=0.01, help="Epochs of each of both stages.")
    ] = 10,
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
    ModuleText.parse(model)
    check_data(data)
    check_out(out)
    device, progress = Target(target), Progress(quiet=as_json)
    from edgekit.spaces import load_module
    from edgekit.split.bottleneck import SMALL
    from edgekit.workflow import split_model

    task = normalised(load(data, seed, resolution, progress), mean, std)
    found = split_model(
        load_module(model),
        task,
        out,
        betas=price,
        cut=cut,
        sizes=replace(SMALL, channels=channels) if channels else SMALL,
        n_epochs=epochs,
        target=device,
        seed=seed,
        progress=progress,
    )
    rows, lines = (
        [],
        [f"{'price':>8} {'top-1':>8} {'bytes':>8} {'encoder':>9} {'server':>9}  halves"],
    )
    for one in found:
        proof, folder = one.proof, one.halves.folder
        rows.append(
            {
                "price": one.beta,
                "top1_test": proof.accuracy.top1,
                "payload_bytes": proof.payload_bytes,
                "largest_payload_bytes": proof.largest_payload_bytes,
                "encoder_p50_s": proof.encoder.p50_s,
                "encode_s": proof.encode_s,
                "decode_s": proof.decode_s,
                "server_p50_s": proof.server.p50_s,
                "halves": str(folder),
            }
        )
        times = (format_duration(figure.p50_s) for figure in (proof.encoder, proof.server))
        encoder, server = times
        lines.append(
            f"{one.beta:>8g} {proof.accuracy.top1:>8.2%} {proof.payload_bytes:>8.1f} "
            f"{encoder:>9} {server:>9}  {folder}"
        )
    lines.append(f"measured on {device.text}; payloads of real frames, their 16 bytes apart")
    print_result(as_json, {"splits": rows}, "\n".join(lines))
