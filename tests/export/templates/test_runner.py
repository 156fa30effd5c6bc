from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from edgekit.core.images.decode import decode_square
from edgekit.core.task import Task
from edgekit.export.bundle import MODEL, RUNNER
from edgekit.export.run import logits_of
from edgekit.export.templates.runner import read_square


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The bundle's runner as a user starts it, from elsewhere and without edgekit on the way."""
    command = [sys.executable, "-I", str(folder / RUNNER), *arguments]
    return subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)


def test_the_runner_gives_the_answers_of_the_model(
    written: Path, digits_task: Task, tmp_path: Path
) -> None:
    images = digits_task.test.images[:5]
    paths = [tmp_path / f"{index}.png" for index in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    done = run(written, *map(str, paths))
    assert (done.returncode, done.stderr) == (0, "")
    logits = logits_of(written / MODEL, digits_task.preprocessing.apply(images))
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    scores = powers / powers.sum(axis=1, keepdims=True)
    for path, row, line in zip(paths, scores, done.stdout.splitlines(), strict=True):
        best = np.argsort(-row)[:3]
        shown = [entry.split() for entry in line.removeprefix(f"{path}: ").split(", ")]
        assert [label for label, _ in shown] == [digits_task.labels[i] for i in best]
        np.testing.assert_allclose([float(score) for _, score in shown], row[best], atol=2e-4)


def test_the_runner_reads_pictures_as_training_did(written: Path, tmp_path: Path) -> None:
    """Grey, 16 bits, transparent, turned and oblong pictures: the same square as edgekit's."""

    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (50, 70, 4), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = (pixels[..., 0].astype(np.uint16) << 8) + 17
    pictures = {
        "rgb.png": (Image.fromarray(pixels[..., :3]), {}),
        "grey.png": (Image.fromarray(pixels[..., 0]), {}),
        "deep.png": (Image.fromarray(deep), {}),
        "clear.png": (Image.fromarray(pixels), {}),
        "turned.jpg": (Image.fromarray(pixels[..., :3]), {"exif": exif}),
    }
    for name, (picture, options) in pictures.items():
        picture.save(tmp_path / name, **options)
        expected = decode_square((tmp_path / name).read_bytes(), 32)
        np.testing.assert_array_equal(read_square(str(tmp_path / name), 32), expected)


def test_a_file_that_is_no_image_is_named_and_the_others_are_done(
    written: Path, digits_task: Task, tmp_path: Path
) -> None:
    (tmp_path / "notes.png").write_text("no image")
    Image.fromarray(digits_task.test.images[0]).save(tmp_path / "digit.png")
    done = run(written, str(tmp_path / "notes.png"), str(tmp_path / "digit.png"))
    assert done.returncode == 2
    assert "notes.png: cannot be read" in done.stderr
    assert done.stdout.startswith(str(tmp_path / "digit.png"))


def test_without_arguments_the_usage_is_shown(written: Path) -> None:
    done = run(written)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: python runner.py")
