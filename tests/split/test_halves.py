"""Both halves on disk: they agree, they run without edgekit, and they are what was written."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import onnx
import onnxruntime as ort
import pytest
import torch
from PIL import Image
from torch import fx

from edgekit.core.errors import InputError, VerificationFailed
from edgekit.core.progress import Progress
from edgekit.core.target import Target
from edgekit.core.task import Split, Task
from edgekit.devices.measuring.estimators import PairedRatio
from edgekit.devices.measuring.session import open_session
from edgekit.split import halves as halves_module
from edgekit.split.bottleneck import BottleneckRecipe
from edgekit.split.cutting import cuts
from edgekit.split.halves import (
    ENCODER,
    MANIFEST,
    PROOF,
    Halves,
    verify_halves,
    write_halves,
)
from edgekit.split.student import Student
from edgekit.training.augment import to_tensor
from tests.line import patient

QUIET = Progress(quiet=True)


@pytest.fixture(scope="module")
def task(digits_task: Task) -> Task:
    """Digits, with 60 images for the test."""
    test = Split(digits_task.test.images[:60], digits_task.test.labels[:60])
    return replace(digits_task, test=test)


@pytest.fixture(scope="module")
def student(teacher: fx.GraphModule, task: Task) -> Student:
    torch.manual_seed(0)
    side = task.preprocessing.resolution
    sizes = BottleneckRecipe((8, 8), 4, 3, 4, 16)
    found = Student(teacher, cuts(teacher)[0], sizes, side).eval()
    with torch.no_grad():
        found.encoder[-1].weight.mul_(30)  # so that latents are more than zeros
    return found


@pytest.fixture(scope="module")
def halves(student: Student, task: Task, tmp_path_factory: pytest.TempPathFactory) -> Halves:
    folder = tmp_path_factory.mktemp("split") / "halves"
    return write_halves(folder, student, task, Target(), {"seed": 0}, tolerance=-1.0)


def test_an_encoder_is_int8_where_that_pays(
    student: Student, task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether int8 is faster is the machine's to say; here it is told."""
    said = PairedRatio(0.5, (0.4, 0.6), 16)
    monkeypatch.setattr(halves_module, "compare_models", lambda *_, **__: said)
    paying = write_halves(tmp_path / "fast", student, task, Target(), {}, tolerance=1.0)
    operators = {node.op_type for node in onnx.load_from_string(paying.model(ENCODER)).graph.node}
    assert "QuantizeLinear" in operators
    note = json.loads((paying.folder / MANIFEST).read_text())["provenance"]["encoder"]
    assert note.startswith("int8: 0.50 times the time of float32, ")
    x = task.preprocessing.apply(task.test.images[:4])
    session = ort.InferenceSession(paying.model(ENCODER))
    for latent in session.run(None, {"input": x})[0]:
        symbols = paying.tables.symbols(latent)
        assert (paying.tables.decode(paying.tables.encode(symbols)) == symbols).all()
    said = PairedRatio(1.0, (0.9, 1.1), 16)
    plain = write_halves(tmp_path / "slow", student, task, Target(), {}, tolerance=1.0)
    note = json.loads((plain.folder / MANIFEST).read_text())["provenance"]["encoder"]
    assert note.startswith("float32: int8 takes 1.00 times")


def test_the_halves_answer_what_the_student_does(
    halves: Halves, student: Student, task: Task
) -> None:
    proof = patient(lambda: verify_halves(halves, Target(), task, progress=QUIET))
    with torch.no_grad():
        x = to_tensor(task.test.images, task.preprocessing)
        right = int((student(x).argmax(1).numpy() == task.test.labels).sum())
    assert abs(proof.accuracy.n_correct - right) <= 1
    assert 1 < proof.payload_bytes <= proof.largest_payload_bytes
    assert proof.encoder.p50_s > 0
    assert proof.server.p50_s > 0
    assert json.loads((halves.folder / PROOF).read_text())["payload_bytes"] == proof.payload_bytes


def test_a_device_and_a_server_need_nothing_of_each_other(
    halves: Halves, student: Student, task: Task, tmp_path: Path
) -> None:
    """Each half alone in a folder, and in a process that must not load torch or edgekit."""
    for half in ("device", "server"):
        shutil.copytree(halves.folder / half, tmp_path / half)
    pixels = task.test.images[0]
    Image.fromarray(pixels).save(tmp_path / "image.png")

    def run(half: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        check = (
            "import runpy, sys; sys.argv = sys.argv[1:]\n"
            "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
            "finally: assert not {'torch', 'edgekit', 'onnx'} & set(sys.modules)"
        )
        command = [sys.executable, "-c", check, str(tmp_path / half / "runner.py"), *arguments]
        environment = {"PYTHONPATH": str(tmp_path / half)}
        return subprocess.run(command, capture_output=True, text=True, env=environment)

    frame = tmp_path / "image.frame"
    sent = run("device", str(tmp_path / "image.png"), str(frame))
    assert sent.returncode == 0, sent.stderr
    assert sent.stdout.strip() == f"{frame}: {frame.stat().st_size} bytes"
    with torch.no_grad():
        x = to_tensor(pixels[None], task.preprocessing)
        wanted = int(student(x).argmax())
        rounded = student.rounded(x)[0].numpy()
    received = halves.tables.latent(halves.tables.decode(frame.read_bytes()))
    assert (received != rounded).sum() <= 1  # a value on the border may round either way
    answered = run("server", str(frame))
    assert answered.returncode == 0, answered.stderr
    assert answered.stdout.split(": ")[1].startswith(f"{task.labels[wanted]} ")
    frame.write_bytes(frame.read_bytes()[:-1])
    refused = run("server", str(frame))
    assert refused.returncode == 2
    assert "cannot be read: a frame of this model has" in refused.stderr


def test_threads_and_batches_send_the_same_frames(halves: Halves, task: Task) -> None:
    x = task.preprocessing.apply(task.test.images)
    sent = set()
    for n_threads, batch in ((1, 1), (2, 1), (1, len(x)), (2, 16)):
        session = open_session(halves.model(ENCODER), n_threads=n_threads)
        frames = []
        for start in range(0, len(x), batch):
            (latents,) = session.run(None, {"input": x[start : start + batch]})
            frames += [halves.tables.encode(halves.tables.symbols(one)) for one in latents]
        sent.add(tuple(frames))
    assert len(sent) == 1


def test_a_file_that_was_changed_is_named(halves: Halves, tmp_path: Path) -> None:
    copy = shutil.copytree(halves.folder, tmp_path / "copy")
    assert Halves.open(copy).tables.digest == halves.tables.digest
    with (copy / "server" / "codec.py").open("a") as file:
        file.write("\n")
    with pytest.raises(VerificationFailed, match=r"server/codec\.py must be the file"):
        Halves.open(copy)


def test_a_manifest_does_not_lead_out_of_its_folder(halves: Halves, tmp_path: Path) -> None:
    copy = shutil.copytree(halves.folder, tmp_path / "copy")
    (tmp_path / "secret").write_text("x")
    document = json.loads((copy / MANIFEST).read_text())
    document["files"]["../secret"] = "0" * 64
    (copy / MANIFEST).write_text(json.dumps(document))
    with pytest.raises(VerificationFailed, match=r"\.\./secret must be the file"):
        Halves.open(copy)


def test_halves_replace_nothing(halves: Halves, student: Student, task: Task) -> None:
    with pytest.raises(InputError, match="written to an empty folder"):
        write_halves(halves.folder, student, task, Target(), {})


def test_other_classes_are_refused(halves: Halves, task: Task) -> None:
    other = replace(task, labels=("a", *task.labels[1:]))
    with pytest.raises(InputError, match="their 10 classes, 0, 1, 2 and so on, got 10, a, 1"):
        verify_halves(halves, Target(), other, progress=QUIET)
