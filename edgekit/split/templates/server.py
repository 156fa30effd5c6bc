"""Classify frames with the network in this folder: ``python runner.py image.frame ...``.

Needs onnxruntime and numpy; takes constriction where it is installed. Prints the three likeliest
classes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
from codec import HEADER_BYTES, MAX_PAYLOAD_BYTES, FrameError, Tables

FOLDER = Path(__file__).resolve().parent
N_SHOWN = 3


def main(paths: list[str]) -> int:
    """Print one line per frame; the exit code is 2 when one is no frame, or none is given."""
    if not paths:
        print("usage: python runner.py image.frame [image.frame ...]", file=sys.stderr)
        return 2
    half, exit_code = Server(FOLDER), 0
    for path in paths:
        try:
            with open(path, "rb") as file:
                frame = file.read(HEADER_BYTES + MAX_PAYLOAD_BYTES + 1)
            logits = half.answer(frame)
        except (OSError, FrameError) as error:
            print(f"{path}: cannot be read: {error}", file=sys.stderr)
            exit_code = 2
            continue
        powers = np.exp(logits - logits.max())
        scores = powers / powers.sum()
        best = np.argsort(-scores)[:N_SHOWN]
        print(f"{path}: " + ", ".join(f"{half.labels[i]} {scores[i]:.4f}" for i in best))
    return exit_code


class Server:
    """The server half.

    Args:
        folder: of the half.
    """

    def __init__(self, folder: Path) -> None:
        self.tables = Tables.load(folder / "tables.json")
        self.labels = json.loads((folder / "labels.json").read_text("utf-8"))["labels"]
        providers = ["CPUExecutionProvider"]
        self.session = ort.InferenceSession(folder / "server.onnx", providers=providers)

    def answer(self, frame: bytes) -> np.ndarray:
        """Logits ``(classes,)`` for a frame; raises FrameError where it is none."""
        latent = self.tables.latent(self.tables.decode(frame))
        (logits,) = self.session.run(None, {"input": latent[None]})
        found: np.ndarray = logits[0]
        return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
