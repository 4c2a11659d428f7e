"""The soak of `make torture`, for seconds instead of minutes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_nothing_is_lost_and_nothing_is_left() -> None:
    command = [sys.executable, "-m", "torture", "--part", "soak", "--seconds", "24"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=115, check=False
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing lost, nothing left" in done.stdout
