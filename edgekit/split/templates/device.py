"""Encode images with the network in this folder: ``python runner.py image.png image.frame``.

Needs onnxruntime, numpy and Pillow; takes constriction where it is installed. Prints the bytes
that are sent.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime as ort
from codec import Tables
from images import Image, normalised, read_square

FOLDER = Path(__file__).resolve().parent


def main(arguments: list[str]) -> int:
    """Write a frame for one image; the exit code is 2 when that cannot be done."""
    if len(arguments) != 2:
        print("usage: python runner.py image.png image.frame", file=sys.stderr)
        return 2
    path, out = arguments
    try:
        frame = Encoder(FOLDER).frame(path)
        Path(out).write_bytes(frame)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        print(f"{path}: cannot be encoded: {error}", file=sys.stderr)
        return 2
    print(f"{out}: {len(frame)} bytes")
    return 0


class Encoder:
    """The device half; one thread, so that every machine of a kind gives the same latents.

    Args:
        folder: of the half.
    """

    def __init__(self, folder: Path) -> None:
        self.tables = Tables.load(folder / "tables.json")
        self.preprocessing = json.loads((folder / "preprocessing.json").read_text("utf-8"))
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        providers = ["CPUExecutionProvider"]
        self.session = ort.InferenceSession(folder / "encoder.onnx", options, providers=providers)

    def frame(self, path: str) -> bytes:
        """What is sent of an image file."""
        pixels = read_square(path, self.preprocessing["resolution"])
        return self.encode(normalised(pixels, self.preprocessing))

    def encode(self, x: np.ndarray) -> bytes:
        """What is sent of an input ``(1, 3, side, side)`` float32."""
        (latent,) = self.session.run(None, {"input": x})
        frame: bytes = self.tables.encode(self.tables.symbols(latent[0]))
        return frame


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
