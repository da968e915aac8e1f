# SPDX-License-Identifier: Apache-2.0
"""One virtual environment a published server, kept between runs, with this checkout's wheel installed into it.

What is kept is keyed by everything that decides its contents, so a changed pin or dependency makes a new one; the wheel of
this project is installed anew when it changed, and never under a test that runs. Needs `uv`.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
CACHE = REPOSITORY / ".cache" / "servers"
PROJECT = "opentelemetry-instrumentation-mcp-audit"
RECIPE = "2"  # raise it when the steps below change
COMMAND_SECONDS = 540.0


def uv() -> str:
    """The `uv` beside the running Python (nox installs it there), else the one on PATH; raises when there is none."""
    beside = Path(sys.executable).parent / "uv"
    found = os.environ.get("UV") or (str(beside) if beside.exists() else shutil.which("uv"))
    if not found:
        raise RuntimeError("the tests of published servers need uv: pip install uv")
    return found


def run(argv: Sequence[str]) -> None:
    """Run a command; its whole output is in the error when it fails."""
    done = subprocess.run(argv, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv)} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")


def build_wheel(into: Path) -> Path:
    """This checkout as a wheel in the directory `into`."""
    run([uv(), "build", "--quiet", "--wheel", "--out-dir", str(into), str(REPOSITORY)])
    (wheel,) = into.glob("*.whl")
    return wheel


def prepare(name: str, requirements: Sequence[str], wheel: Path) -> Path:
    """A virtual environment with `requirements`, the distro, and `wheel` with its command; returns its `bin` directory."""
    CACHE.mkdir(parents=True, exist_ok=True)
    key = hashlib.sha256(
        "\0".join(
            [RECIPE, sys.version, sys.base_prefix, *requirements, (REPOSITORY / "pyproject.toml").read_text()]
        ).encode()
    ).hexdigest()[:12]
    venv = CACHE / f"{name}-{key}"
    python, ready = str(venv / "bin" / "python"), venv / "ready"
    installed = hashlib.sha256(wheel.read_bytes()).hexdigest()
    with (CACHE / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two test runs in one checkout share the cache
        if ready.exists():
            if ready.read_text() != installed:
                run([uv(), "pip", "install", "--quiet", "--python", python, "--no-deps", "--reinstall", str(wheel)])
                ready.write_text(installed)
            return venv / "bin"
        for old in CACHE.glob(f"{name}-{'?' * 12}"):
            shutil.rmtree(old)
        run([uv(), "venv", "--quiet", "--python", sys.executable, str(venv)])
        wanted = [*requirements, "opentelemetry-distro", f"{wheel}[cli]"]
        run([uv(), "pip", "install", "--quiet", "--python", python, *wanted])
        ready.write_text(installed)
    return venv / "bin"
