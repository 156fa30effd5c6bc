from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgekit.core.errors import InputError
from edgekit.core.progress import Progress
from edgekit.core.task import Preprocessing, Split, Task, load_task
from tests.core.conftest import MakeFolder

_QUIET = Progress(quiet=True)


def _splits(task: Task) -> list[Split]:
    return [task.train, task.validation, task.calibration, task.test]


def _fingerprints(split: Split) -> set[bytes]:
    return {image.tobytes() for image in split.images}


def _cifar10_file(data_dir: Path) -> Path:
    return data_dir / "cifar10" / "test-00000-of-00001.parquet"


def test_digits_are_all_there_once(digits_task: Task) -> None:
    assert sum(map(len, _splits(digits_task))) == 1797
    assert len(digits_task.calibration) == 256
    assert digits_task.labels == tuple("0123456789")
    assert digits_task.preprocessing.resolution == 32
    seen = [_fingerprints(split) for split in _splits(digits_task)]
    assert len(set().union(*seen)) == sum(map(len, seen))


def test_every_split_is_bytes_with_labels_and_every_class(digits_task: Task) -> None:
    for split in _splits(digits_task):
        assert split.images.shape == (len(split), 32, 32, 3)
        assert (split.images.dtype, split.labels.dtype) == (np.uint8, np.int64)
        assert split.images.flags.c_contiguous
        assert set(split.labels.tolist()) == set(range(10))


def test_training_images_come_out_normalised(digits_task: Task) -> None:
    inputs = digits_task.preprocessing.apply(digits_task.train.images)
    assert np.abs(inputs.mean(axis=(0, 2, 3), dtype=np.float64)).max() < 1e-4
    assert np.abs(inputs.std(axis=(0, 2, 3), dtype=np.float64) - 1).max() < 1e-4


def test_a_seed_gives_the_same_task_again_and_no_seed_moves_the_test_part(
    digits_task: Task,
) -> None:
    again, other = Task.digits(), Task.digits(seed=1)
    for split, same in zip(_splits(digits_task), _splits(again), strict=True):
        assert np.array_equal(split.images, same.images)
    assert digits_task.source == again.source
    assert np.array_equal(digits_task.test.images, other.test.images)
    assert not np.array_equal(digits_task.validation.images, other.validation.images)


def test_a_folder_is_cut_into_four_parts(tmp_path: Path, make_folder: MakeFolder) -> None:
    root = make_folder(tmp_path / "flowers", {"daisy": 20, "rose": 30})
    task = Task.from_folder(root, n_calibration=4, progress=_QUIET)
    # test 4 and 6; of 16 and 24 validation 2 and 2; of 14 and 22 calibration 4 in proportion
    assert [len(split) for split in _splits(task)] == [32, 4, 4, 10]
    assert (task.name, task.labels, task.n_skipped) == ("flowers", ("daisy", "rose"), 0)
    assert task.preprocessing.resolution == 32
    for split in _splits(task):
        bright = split.images.mean(axis=(1, 2, 3)) >= 40
        assert np.array_equal(bright, split.labels == 1)


def test_a_test_folder_is_the_test_part(tmp_path: Path, make_folder: MakeFolder) -> None:
    make_folder(tmp_path / "train", {"a": 10, "b": 10})
    make_folder(tmp_path / "test", {"a": 3, "b": 4})
    task = Task.from_folder(tmp_path, progress=_QUIET)
    assert np.bincount(task.test.labels).tolist() == [3, 4]
    assert sum(map(len, _splits(task)[:3])) == 20


def test_damaged_images_are_counted_and_the_first_20_named(
    tmp_path: Path, make_folder: MakeFolder
) -> None:
    root = make_folder(tmp_path, {"a": 60, "b": 70})
    for index in range(25):
        (root / "a" / f"{index:03d}.png").write_bytes(b"damaged")
    task = Task.from_folder(root, progress=_QUIET)
    assert task.n_skipped == 25
    assert len(task.skipped) == 20
    assert task.skipped[0] == "a/000.png: not an image of a known format"
    assert sum(map(len, _splits(task))) == 105


def test_a_bomb_in_a_folder_is_skipped(
    tmp_path: Path, make_folder: MakeFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_folder(tmp_path, {"a": 9, "b": 9})
    Image.new("RGB", (60, 60)).save(root / "a" / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3000)
    task = Task.from_folder(root, progress=_QUIET)
    assert [line.split(":")[0] for line in task.skipped] == ["a/bomb.png"]


@pytest.mark.parametrize("counts", [{"a": 3, "b": 9}, {"a": 0, "b": 9}, {"a": 9}, {}])
def test_a_folder_with_too_little_is_refused(
    tmp_path: Path, make_folder: MakeFolder, counts: dict[str, int]
) -> None:
    with pytest.raises(InputError):
        Task.from_folder(make_folder(tmp_path, counts), progress=_QUIET)


def test_a_folder_that_does_not_fit_the_memory_names_a_resolution_that_does(
    tmp_path: Path, make_folder: MakeFolder
) -> None:
    root = make_folder(tmp_path, {"a": 10, "b": 10})
    with pytest.raises(InputError, match="use resolution 16") as caught:
        Task.from_folder(root, max_bytes=20 * 16 * 16 * 3, progress=_QUIET)
    assert "20 of 32x32" in str(caught.value)
    small = Task.from_folder(root, max_bytes=20 * 16 * 16 * 3, resolution=16, progress=_QUIET)
    assert small.train.images.shape[1:] == (16, 16, 3)


def test_the_source_says_what_was_read(tmp_path: Path, make_folder: MakeFolder) -> None:
    root = make_folder(tmp_path / "flowers", {"a": 9, "b": 9})
    before = Task.from_folder(root, seed=3, progress=_QUIET).source
    assert (before["kind"], before["name"], before["seed"]) == ("folder", "flowers", 3)
    Image.new("RGB", (40, 48)).save(root / "a" / "000.png")
    after = Task.from_folder(root, seed=3, progress=_QUIET).source
    assert before["sha256"] != after["sha256"]
    assert json.loads(json.dumps(dict(after))) == after


def test_cifar10_is_read_from_parquet(data_dir: Path) -> None:
    task = load_task(str(_cifar10_file(data_dir)), seed=0, progress=_QUIET)
    assert task.labels[0] == "airplane"
    assert task.labels[9] == "truck"
    # 10,000 balanced: test 2,000, validation 10 % of 8,000, calibration 256
    assert [len(split) for split in _splits(task)] == [6944, 800, 256, 2000]
    assert np.bincount(task.test.labels).tolist() == [200] * 10
    assert task.preprocessing.mean == pytest.approx((0.494, 0.485, 0.450), abs=0.01)
    assert task.n_skipped == 0


def test_torch_datasets_are_read() -> None:
    import torch
    from torch.utils.data import TensorDataset

    pixels = torch.arange(40 * 3 * 8 * 8).remainder(251).to(torch.uint8).reshape(40, 3, 8, 8)
    labels = torch.arange(40).remainder(2)
    parts = [TensorDataset(images, labels) for images in (pixels, pixels.float() / 255)]
    task = Task.from_datasets(*parts, labels=["even", "odd"], resolution=8, progress=_QUIET)
    assert task.labels == ("even", "odd")
    assert np.array_equal(task.test.images, pixels.permute(0, 2, 3, 1).numpy())
    assert np.array_equal(task.test.labels, labels.numpy())
    assert sum(map(len, _splits(task)[:3])) == 40


def test_empty_or_unmatched_datasets_are_refused() -> None:
    items = [(np.full((8, 8, 3), n, dtype=np.uint8), n % 2) for n in range(20)]
    with pytest.raises(InputError, match="must not be empty"):
        Task.from_datasets(items, [], progress=_QUIET)
    with pytest.raises(InputError, match="labels up to 7"):
        Task.from_datasets(items, [(items[0][0], 7)], labels=["a", "b"], progress=_QUIET)


def test_data_is_found_by_its_text(tmp_path: Path, make_folder: MakeFolder) -> None:
    assert load_task("digits", seed=0, resolution=8).train.images.shape[1] == 8
    root = make_folder(tmp_path / "flowers", {"a": 9, "b": 9})
    assert load_task(str(root), seed=0, resolution=8, progress=_QUIET).name == "flowers"


@pytest.mark.parametrize("text", ["", "cifar", "/nowhere/x.txt", "bad\0name"])
def test_other_text_is_refused_with_what_is_accepted(text: str) -> None:
    with pytest.raises(InputError, match="'digits', a folder of class folders"):
        load_task(text, seed=0)


def test_preprocessing_is_the_written_formula() -> None:
    preprocessing = Preprocessing(8, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
    images = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
    exact = (images / 255 - np.array([0.4, 0.5, 0.6])) / np.array([0.2, 0.25, 0.3])
    inputs = preprocessing.apply(images)
    assert (inputs.dtype, inputs.shape) == (np.float32, (5, 3, 8, 8))
    assert inputs.flags.c_contiguous
    assert np.abs(inputs - exact.transpose(0, 3, 1, 2)).max() < 2e-6


def test_preprocessing_cuts_and_scales_other_sizes() -> None:
    preprocessing = Preprocessing(8, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    images = np.zeros((2, 20, 60, 3), dtype=np.uint8)
    images[:, :, 15:45] = 255  # the filter reaches one step beyond the centre square
    assert preprocessing.apply(images) == pytest.approx(1.0)
    assert preprocessing.apply(images[:0]).shape == (0, 3, 8, 8)


def test_preprocessing_comes_back_from_json(digits_task: Task) -> None:
    text = json.dumps(digits_task.preprocessing.to_json())
    assert Preprocessing.from_json(json.loads(text)) == digits_task.preprocessing


@pytest.mark.parametrize(
    "change",
    [
        {"resolution": 32.0},
        {"resolution": True},
        {"resolution": 4},
        {"mean": [0.1, 0.2]},
        {"mean": [0.1, "0.2", 0.3]},
        {"std": [0.1, 0.0, 0.2]},
        {"std": [0.1, float("inf"), 0.2]},
        {"layout": "NHWC"},
        {"layout": None},
    ],
)
def test_odd_preprocessing_is_refused(change: dict[str, object]) -> None:
    good = Preprocessing(32, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2)).to_json()
    with pytest.raises(InputError):
        Preprocessing.from_json({**good, **change})


def test_images_of_another_shape_or_type_are_refused() -> None:
    preprocessing = Preprocessing(8, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    for images in (np.zeros((8, 8, 3), np.uint8), np.zeros((1, 3, 8, 8), np.uint8)):
        with pytest.raises(InputError, match="uint8"):
            preprocessing.apply(images)
    with pytest.raises(InputError, match="float32"):
        preprocessing.apply(np.zeros((1, 8, 8, 3), np.float32))  # type: ignore[arg-type]


def test_importing_the_task_loads_nothing_heavy() -> None:
    code = (
        "import sys, edgekit.core.task; "
        "print([n for n in ('torch', 'PIL', 'pyarrow', 'sklearn', 'rich') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_part_of_a_split_is_spread_over_all_of_it() -> None:
    split = Split(np.zeros((100, 1, 1, 3), np.uint8), np.arange(100))
    assert split.evenly(100) is split
    assert split.evenly(4).labels.tolist() == [0, 33, 66, 99]
