# SPDX-License-Identifier: Apache-2.0
"""What ``doctor`` says of delivery."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from delivering import ship, write
from endpoint import Reply, endpoint


def doctor(directory: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "opentelemetry.instrumentation.mcp_audit.cli", "doctor", str(directory)],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout


def test_what_waits_and_what_was_refused(tmp_path: Path) -> None:
    poison = write(tmp_path, 20)[5]
    assert "acknowledged" not in doctor(tmp_path).split("room")[0], "a journal that nobody delivers"
    with endpoint(lambda request: Reply(400, b"bad") if poison in request.ids else None) as other:
        ship(tmp_path, other.url)
    said = doctor(tmp_path)
    assert f"{tmp_path}: everything is acknowledged" in said
    assert "1 records were refused and lie in" in said and "HTTP 400: bad" in said
    write(tmp_path, 5)
    assert "wait, and nobody delivers" in doctor(tmp_path)
