# SPDX-License-Identifier: Apache-2.0
"""The reading commands on files without the extra ``sql``; a database then is one sentence that names the extra."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from trail_oracle import sample

_WITHOUT = """
import sys
sys.modules["sqlalchemy"] = None
from opentelemetry.instrumentation.mcp_audit.cli import main
main()
"""


def without_sql(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", _WITHOUT, *arguments], capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    "command",
    [["verify"], ["verify", "--json"], ["query"], ["query", "--json"], ["export", "--format", "otlp"]],
    ids=" ".join,
)
def test_files_need_no_database_library(command: list[str], tmp_path: Path) -> None:
    path = sample(3).write(tmp_path)
    done = without_sql(*command, str(path))
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    assert done.stdout != ""


@pytest.mark.parametrize("command", ["verify", "query", "export"])
def test_a_database_needs_the_extra_and_says_so(command: str) -> None:
    done = without_sql(command, "sqlite:////nowhere/audit.db")
    assert done.returncode != 0 and "Traceback" not in done.stderr, done.stderr
    assert "opentelemetry-instrumentation-mcp-audit[cli,sql]" in done.stderr
