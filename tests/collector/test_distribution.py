# SPDX-License-Identifier: Apache-2.0
"""The build script: it finds what it built, takes a binary that is named, and builds anew when the manifest changes."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from collector import CONFIG, binary

DISTRIBUTION = CONFIG / "distribution"


def build(*arguments: str, folder: Path = DISTRIBUTION, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(folder / "build.sh"), *arguments],
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_last_line_of_make_collector_is_the_binary() -> None:
    found = binary()
    done = subprocess.run(
        ["make", "--no-print-directory", "collector"],
        cwd=CONFIG.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == str(found)
    version = subprocess.run([str(found), "--version"], capture_output=True, text=True, timeout=60, check=True)
    assert version.stdout == "otelcol-mcp-audit version 0.1.0\n"


def test_a_binary_that_is_named_is_taken(tmp_path: Path) -> None:
    named = tmp_path / "mine"
    named.touch(mode=0o755)
    assert build(OTELCOL_MCP_AUDIT=str(named)).stdout == f"{named}\n"
    missing = build(OTELCOL_MCP_AUDIT=str(tmp_path / "absent"))
    assert missing.returncode == 1
    assert missing.stderr == f"build.sh: OTELCOL_MCP_AUDIT={tmp_path}/absent is not a program\n"


def test_no_go_is_said(tmp_path: Path) -> None:
    done = build(GO=str(tmp_path / "go"), OTELCOL_MCP_AUDIT="")
    assert done.returncode == 1
    assert done.stderr == "build.sh: no Go: install it (https://go.dev/dl) or name it in GO\n"


def test_each_input_of_the_build_is_in_the_name_of_what_was_built(tmp_path: Path) -> None:
    copy = tmp_path / "distribution"
    shutil.copytree(DISTRIBUTION, copy)

    def looked_for() -> str:
        done = build("--find", folder=copy, OTELCOL_MCP_AUDIT="", OTELCOL_MCP_AUDIT_CACHE=str(tmp_path / "cache"))
        assert done.returncode == 1 and done.stdout == ""
        (path,) = re.fullmatch(r"build\.sh: not built yet: (.+)\n", done.stderr).groups()
        return path

    seen = [looked_for()]
    assert looked_for() == seen[0]
    for name in ("builder.yaml", "go.mod", "go.sum"):
        with (copy / name).open("a") as file:
            file.write("\n")
        seen.append(looked_for())
    assert len(set(seen)) == 4
    assert not (tmp_path / "cache").exists(), "looking makes nothing"


def test_the_manifest_and_go_mod_name_the_same_versions() -> None:
    """Else the builder would generate sources for one version and the committed go.mod build another."""
    wanted = re.findall(r"^  - gomod: (\S+) (v\S+)$", (DISTRIBUTION / "builder.yaml").read_text(), re.MULTILINE)
    assert len(wanted) > 20
    pinned = dict(re.findall(r"^\t(\S+) (v\S+)$", (DISTRIBUTION / "go.mod").read_text(), re.MULTILINE))
    assert {module: pinned.get(module) for module, _ in wanted} == dict(wanted)


def test_without_a_collector_tests_skip_and_in_ci_they_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTELCOL_MCP_AUDIT", "/nowhere/otelcol")
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="run `make collector` once"):
        binary.__wrapped__()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="OTELCOL_MCP_AUDIT=/nowhere/otelcol is not a program"):
        binary.__wrapped__()
