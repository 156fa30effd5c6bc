"""Jobs for a process in the environment of a provider; see ``worker`` for what it does."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import onnx

from edgekit.core import errors
from edgekit.core.errors import EdgekitError, InputError
from edgekit.core.target import Target
from edgekit.devices.measuring.session import Model
from edgekit.devices.providers.catalogue import provider_named
from edgekit.devices.providers.environments import environment_variables, python_of
from edgekit.devices.providers.loading import why_not_usable

_WORKER = "edgekit.devices.measuring.worker"


def is_elsewhere(target: Target) -> bool:
    """Whether the provider of a target is usable only in an environment of its own."""
    provider = provider_named(target.ep)
    return provider.own_env and bool(why_not_usable(provider))


def run_job(
    job: Mapping[str, object],
    models: dict[str, Model],
    target: Target,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> object:
    """Have a worker do a job, in the environment of the target's provider.

    Args:
        job: as ``worker`` reads it, without target and models.
        models: written to files whose paths stand in the job under ``"models"``, and a single
            one's under its own name too.
        target: names the provider.
        progress: called with (done, total).

    Returns:
        What the worker found, as plain values.

    Raises:
        InputError: there is no such environment yet; names the command that makes it.
        EdgekitError: whatever the worker raised, or that it ended without an answer.
    """
    python = _python(target)
    with TemporaryDirectory(prefix="edgekit-job-") as folder:
        files = {
            name: str(_file(Path(folder), i, m)) for i, (name, m) in enumerate(models.items())
        }
        path = Path(folder) / "job.json"
        content = {**files, **job, "models": files, "target": target.text}
        path.write_text(json.dumps({**content, "require": target.require}), "utf-8")
        return _answer([str(python), "-m", _WORKER, str(path)], Path(folder) / "log", progress)


def _python(target: Target) -> Path:
    if not is_elsewhere(target):
        return Path(sys.executable)
    provider = provider_named(target.ep)
    python = python_of(provider)
    if python is None:
        remedy = (
            f"run edgekit devices --install {provider.short}"
            if provider.requires
            else f"it comes with {provider.package}"
        )
        raise InputError(
            f"the provider {provider.short} is not in this build of ONNX Runtime and needs an "
            f"environment of its own: {remedy}"
        )
    return python


def _answer(command: list[str], log: Path, progress: Callable[[int, int], None] | None) -> object:
    with (
        log.open("w") as errors_out,
        subprocess.Popen(
            command,
            env=environment_variables(),
            stdout=subprocess.PIPE,
            stderr=errors_out,
            text=True,
            encoding="utf-8",
        ) as process,
    ):
        assert process.stdout is not None
        try:
            for text in process.stdout:
                line = json.loads(text)
                if "progress" in line and progress is not None:
                    progress(*line["progress"])
                if "result" in line:
                    return line["result"]
                if "error" in line:
                    raise _error(line["error"]["type"], line["error"]["message"])
            code = process.wait()
        finally:
            process.kill()
    last = (log.read_text("utf-8", "replace").strip().splitlines() or ["it printed nothing"])[-1]
    raise EdgekitError(
        f"the worker for this provider must answer, it ended with code {code}: {last}; "
        "make its environment again with edgekit devices --install"
    )


def _error(name: str, message: str) -> EdgekitError:
    known = {
        cls.__name__: cls
        for cls in (errors.InputError, errors.TooNoisy, errors.VerificationFailed)
    }
    return known.get(name, EdgekitError)(message)


def _file(folder: Path, index: int, model: Model) -> Path:
    """The model as a file: one that lies somewhere stays there."""
    if isinstance(model, Path):
        return model.absolute()
    path = folder / f"{index}.onnx"
    path.write_bytes(model.SerializeToString() if isinstance(model, onnx.ModelProto) else model)
    return path
