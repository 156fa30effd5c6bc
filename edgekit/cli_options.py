"""Options that several verbs share, and how a verb prints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

SpaceName = Annotated[
    str, typer.Argument(help="mbconv, or FILE.py:NAME, a torch module of yours.")
]
Model = Annotated[
    str | None,
    typer.Option("--model", help="FILE.py:NAME again, of a run that searches a module."),
]
Mean = Annotated[
    str | None, typer.Option("--mean", help="Red, green, blue mean a module expects, 0.5,0.5,0.5.")
]
Std = Annotated[str | None, typer.Option("--std", help="The same of the standard deviation.")]
DataText = Annotated[
    str, typer.Option("--data", help="digits, a folder of class folders, or parquet.")
]
ProfileFolder = Annotated[
    Path, typer.Option("--profile", help="Folder of a device profile, or a shipped one's name.")
]
ProfileFolders = Annotated[
    list[Path],
    typer.Option(
        "--profile",
        help="Folder of a device profile, or a shipped one's name; again for another device.",
    ),
]
Out = Annotated[Path, typer.Option("--out", help="Folder the result is written to.")]
Quick = Annotated[bool, typer.Option("--quick", help="Less of everything, to see the whole line.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object and no progress.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of every random choice.")]
MaxLatency = Annotated[
    str | None, typer.Option("--max-latency", help="Limit on one run, such as 15ms.")
]
MaxLatencies = Annotated[
    list[str] | None,
    typer.Option("--max-latency", help="Limit on one run, such as 15ms; one for each --profile."),
]
MaxSize = Annotated[
    str | None, typer.Option("--max-size", help="Limit on the model file, such as 4MB.")
]
MaxMemory = Annotated[
    str | None,
    typer.Option("--max-memory", help="Limit on the peak memory of loading and running, as 40MB."),
]
Objectives = Annotated[
    str | None,
    typer.Option(
        "--objectives", help="Made small besides the error: latency,size,memory or some of these."
    ),
]
Quantile = Annotated[
    str, typer.Option("--quantile", help="Which latency the limit is on: p50, p90 or p99.")
]
TargetText = Annotated[str, typer.Option("--target", help="local or local?threads=N.")]
StrategyName = Annotated[
    str, typer.Option("--strategy", help="simq, or one of the baselines; see the guide.")
]
Resolution = Annotated[
    int | None, typer.Option("--resolution", help="Side of the images in pixels, 32 to 224.")
]
Evaluations = Annotated[
    int | None, typer.Option("--evaluations", min=1, help="Candidates to measure.")
]
Epochs = Annotated[
    int | None,
    typer.Option("--epochs", min=0, help="Epochs all share; 0: none, or a module as it is."),
]
Sampling = Annotated[
    str,
    typer.Option("--sampling", help="How shared weights are trained: sandwich or nested."),
]
QueryEpochs = Annotated[
    int | None,
    typer.Option("--query-epochs", min=0, help="Epochs of each candidate alone; 0: none."),
]
FinetuneEpochs = Annotated[
    int | None,
    typer.Option("--finetune-epochs", min=0, help="Epochs of the chosen network; 0: none."),
]
Int8Tolerance = Annotated[
    float,
    typer.Option(
        "--int8-tolerance",
        min=0,
        max=1,
        help="Share of right answers int8 may cost a module before it is trained in int8.",
    ),
]
Supernet = Annotated[
    Path | None,
    typer.Option("--supernet", help="Run of the same space, data and seed to take it over from."),
]

WorkerCount = Annotated[
    int,
    typer.Option(
        "--workers", min=0, help="Processes that train and judge candidates, a thread each."
    ),
]
Trainers = Annotated[
    int,
    typer.Option("--trainers", min=1, help="Processes that train shared weights together."),
]
RayAddress = Annotated[
    str,
    typer.Option("--ray", help="Where the workers are: a Ray cluster, auto or ray://HOST:PORT."),
]
Study = Annotated[
    str,
    typer.Option("--study", help="Database of the trials, postgresql://USER@HOST/NAME."),
]


def print_result(as_json: bool, lines: Mapping[str, object], text: str) -> None:
    """One JSON object for machines, or the text for people."""
    print(json.dumps(lines) if as_json else text)
