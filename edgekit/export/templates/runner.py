"""Classify images with the network in this folder: ``python runner.py image.png ...``.

Needs onnxruntime, numpy and Pillow, nothing else. Prints the three likeliest classes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
from PIL import Image, ImageOps

FOLDER = Path(__file__).resolve().parent
N_SHOWN = 3


def main(paths: list[str]) -> int:
    """Print one line per image; the exit code is 2 when one cannot be read, or none is given."""
    if not paths:
        print("usage: python runner.py image.png [image.png ...]", file=sys.stderr)
        return 2
    preprocessing = json.loads((FOLDER / "preprocessing.json").read_text("utf-8"))
    labels = json.loads((FOLDER / "labels.json").read_text("utf-8"))["labels"]
    session = ort.InferenceSession(FOLDER / "model.onnx", providers=["CPUExecutionProvider"])
    exit_code = 0
    for path in paths:
        try:
            pixels = read_square(path, preprocessing["resolution"])
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            print(f"{path}: cannot be read: {error}", file=sys.stderr)
            exit_code = 2
            continue
        (logits,) = session.run(None, {"input": normalised(pixels, preprocessing)})
        scores = softmax(logits[0])
        best = np.argsort(-scores)[:N_SHOWN]
        print(f"{path}: " + ", ".join(f"{labels[i]} {scores[i]:.4f}" for i in best))
    return exit_code


def read_square(path: str, resolution: int) -> np.ndarray:
    """The centre square of an image, upright: RGB, uint8, (resolution, resolution, 3)."""
    with Image.open(path) as image:
        image.load()
        upright = ImageOps.exif_transpose(image) if "exif" in image.info else image
    if upright.mode.startswith("I;16"):
        upright = Image.fromarray((np.asarray(upright).astype(np.uint16) >> 8).astype(np.uint8))
    if upright.mode in ("I", "F"):
        raise ValueError(f"pixels of mode {upright.mode} have no fixed range")
    rgb = upright.convert("RGB")
    if rgb.size != (resolution, resolution):
        side = min(rgb.size)
        left, top = (rgb.width - side) / 2, (rgb.height - side) / 2
        box = (left, top, left + side, top + side)
        rgb = rgb.resize((resolution, resolution), Image.Resampling.BILINEAR, box=box)
    return np.asarray(rgb, dtype=np.uint8)


def normalised(pixels: np.ndarray, preprocessing: dict[str, list[float]]) -> np.ndarray:
    """The network's input: float32, (1, 3, resolution, resolution)."""
    std = np.asarray(preprocessing["std"])
    scale = (1 / (255 * std)).astype(np.float32)
    shift = (-np.asarray(preprocessing["mean"]) / std).astype(np.float32)
    planes = pixels.transpose(2, 0, 1) * scale[:, None, None] + shift[:, None, None]
    return np.ascontiguousarray(planes[None], dtype=np.float32)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Scores that sum to 1."""
    powers = np.exp(logits - logits.max())
    scores: np.ndarray = powers / powers.sum()
    return scores


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
