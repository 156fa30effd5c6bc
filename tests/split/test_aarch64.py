"""The coder on another processor: Linux on aarch64, in emulation (qemu-user)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edgekit.split import codec
from tests.split.test_codec import SHAPE, drawn, in_context, tables

ROOT = Path(__file__).resolve().parents[2] / ".edgekit" / "aarch64"
QEMU = shutil.which("qemu-aarch64-static")
N = 60
SCRIPT = """
import json, platform, sys
from pathlib import Path
folder = Path(sys.argv[1])
sys.path[:0] = [sys.argv[2], str(folder)]
import numpy as np
import codec
assert codec.constriction is None
tables = codec.Tables.load(folder / "tables.json")
every = np.load(folder / "symbols.npy")
frames = json.loads((folder / "frames.json").read_text())
written = [tables.encode(one).hex() for one in every]
read = all((tables.decode(bytes.fromhex(text)) == one).all() for text, one in zip(frames, every))
print(json.dumps({"machine": platform.machine(), "written": written, "read": bool(read)}))
"""


def test_what_one_processor_writes_the_other_writes_and_reads(tmp_path: Path) -> None:
    if QEMU is None or not (ROOT / "ready").is_file():
        reason = "not checked here: needs Debian's qemu-user-static and `make aarch64`"
        assert not os.environ.get("CI"), reason
        pytest.skip(reason)
    known = in_context(tables())
    symbols = np.stack(
        [drawn(seed, spread) for seed in range(N // 3) for spread in (0.3, 4.0, 1e4)]
    )
    frames = [known.encode(one).hex() for one in symbols]
    shutil.copy(codec.__file__, tmp_path / "codec.py")
    (tmp_path / "tables.json").write_bytes(known.to_bytes())
    np.save(tmp_path / "symbols.npy", symbols)
    (tmp_path / "frames.json").write_text(json.dumps(frames))
    (tmp_path / "script.py").write_text(SCRIPT)
    files = ROOT / "files"
    command = [QEMU, "-L", files, files / "usr/bin/python3.11", tmp_path / "script.py"]
    done = subprocess.run(
        [*map(str, command), str(tmp_path), str(files / "site")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert symbols.shape == (N, *SHAPE)
    assert found == {"machine": "aarch64", "written": frames, "read": True}
