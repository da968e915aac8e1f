# SPDX-License-Identifier: Apache-2.0
"""``run -- CMD``: audited or not at all; otherwise as if it were not there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from opentelemetry.instrumentation.mcp_audit.cli.run import BOOT, blinding_option, prepare

SRC = Path(__file__).parents[2] / "src"
pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and modes of POSIX")


def environment(tmp_path: Path, **extra: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    return {**kept, "PYTHONPATH": str(SRC), "OTEL_MCP_AUDIT_DIR": str(tmp_path / "journal"), **extra}


def command(*cmd: str) -> list[str]:
    return [sys.executable, "-m", "opentelemetry.instrumentation.mcp_audit.cli", "run", "--", *cmd]


def run(tmp_path: Path, *cmd: str, **extra: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*cmd),
        capture_output=True,
        text=True,
        env=environment(tmp_path, **extra),
        timeout=60,
        input="from stdin",
    )


def python(tmp_path: Path, code: str, **extra: str) -> subprocess.CompletedProcess[str]:
    return run(tmp_path, sys.executable, "-c", code, **extra)


def test_stdio_arguments_and_exit_code_are_the_child_s(tmp_path: Path) -> None:
    code = "import sys; print(sys.stdin.read(), sys.argv[1:]); print('err', file=sys.stderr); sys.exit(7)"
    done = run(tmp_path, sys.executable, "-c", code, "-x", "--help", "--", "y")
    assert (done.returncode, done.stdout, done.stderr) == (7, "from stdin ['-x', '--help', '--', 'y']\n", "err\n")


def test_the_directory_is_made_private(tmp_path: Path) -> None:
    assert run(tmp_path, "true").returncode == 0
    assert (tmp_path / "journal").stat().st_mode & 0o777 == 0o700
    assert list((tmp_path / "journal").iterdir()) == []


def test_hooks_are_there_before_the_program_and_nothing_is_exported(tmp_path: Path) -> None:
    done = python(
        tmp_path,
        "import os, sys\n"
        "from opentelemetry.instrumentation.mcp_audit.instrumentor import INSTRUMENTATION\n"
        "print(INSTRUMENTATION.installed, 'mcp' in sys.modules)\n"
        "print([os.environ[f'OTEL_{kind}_EXPORTER'] for kind in ('TRACES', 'METRICS', 'LOGS')])\n",
        OTEL_LOGS_EXPORTER="console",
    )
    assert done.stdout.splitlines() == ["True False", "['none', 'none', 'console']"]


def test_a_typo_in_an_exporter_costs_one_line_not_the_audit(tmp_path: Path) -> None:
    done = python(
        tmp_path,
        "from opentelemetry.instrumentation.mcp_audit.instrumentor import INSTRUMENTATION as i; print(i.installed)",
        OTEL_TRACES_EXPORTER="otpl",
    )
    assert (done.returncode, done.stdout) == (0, "True\n")
    (line,) = done.stderr.splitlines()
    assert line.startswith("otel-mcp-audit run: OpenTelemetry could not be initialised (")
    assert "otpl" in line and line.endswith("; the audit is not affected")


def test_the_sitecustomize_that_was_there_still_runs(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.flags_of_mine = 'kept'\n")
    done = subprocess.run(
        command(sys.executable, "-c", "import sys; print(sys.flags_of_mine)"),
        capture_output=True,
        text=True,
        env=environment(tmp_path, PYTHONPATH=os.pathsep.join([str(tmp_path), str(SRC)])),
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("kept\n", "")


@pytest.mark.parametrize(
    ("extra", "sentence"),
    [
        ({"OTEL_MCP_AUDIT_DIR": "/proc/nowhere"}, "the journal in /proc/nowhere cannot be written"),
        ({"OTEL_MCP_AUDIT_ENABLED": "false"}, "OTEL_MCP_AUDIT_ENABLED=false turns the audit off"),
        ({"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "flask, mcp_audit"}, "turns the audit off"),
        ({"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "*"}, "turns the audit off"),
        ({"OTEL_MCP_AUDIT_LEVEL": "loud"}, "OTEL_MCP_AUDIT_LEVEL: 'loud' cannot be used; allowed: none, metadata"),
    ],
)
def test_what_cannot_be_audited_is_not_started(tmp_path: Path, extra: dict[str, str], sentence: str) -> None:
    done = run(tmp_path, "touch", str(tmp_path / "started"), **extra)
    assert done.returncode == 78
    (line,) = done.stderr.splitlines()
    assert line.startswith("otel-mcp-audit run: not started: ") and sentence in line
    assert not (tmp_path / "started").exists()


@pytest.mark.parametrize(
    ("arguments", "bad"),
    [
        (["-I", "x.py"], "-I"),
        (["-uE", "x.py"], "-E"),
        (["-X", "dev", "-S", "x.py"], "-S"),
        (["-Wignore", "-S"], "-S"),
        (["-u", "x.py", "-I"], None),
        (["-m", "server", "-I"], None),
        (["-c", "x", "-I"], None),
        (["-cI"], None),
        (["-W", "-I", "x.py"], None),
        (["-"], None),
        ([], None),
    ],
)
def test_interpreter_options_that_keep_the_audit_out(arguments: list[str], bad: str | None) -> None:
    found = blinding_option(["/usr/bin/python3.11", *arguments])
    assert (found is None) if bad is None else (found is not None and f"with {bad} " in found)
    assert blinding_option(["node", "-I"]) is None


def test_exit_codes_of_a_shell(tmp_path: Path) -> None:
    assert run(tmp_path, "no-such-command").returncode == 127
    plain = tmp_path / "plain"
    plain.write_text("text")
    assert run(tmp_path, str(plain)).returncode == 126
    assert run(tmp_path, "sh", "-c", "kill -9 $$").returncode == 137
    assert run(tmp_path, "sh", "-c", "kill -TERM $$").returncode == 143


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_signals_reach_the_child(tmp_path: Path, number: signal.Signals) -> None:
    code = (
        "import signal, sys, time\n"
        f"signal.signal({int(number)}, lambda *_: sys.exit(5))\n"
        "print('ready', flush=True)\n"
        "while True: time.sleep(0.05)\n"
    )
    process = subprocess.Popen(
        command(sys.executable, "-c", code), stdout=subprocess.PIPE, env=environment(tmp_path), text=True
    )
    try:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.wait(20) == 5
    finally:
        process.kill()
        process.communicate()


@pytest.mark.skipif(sys.platform != "linux", reason="a Linux signal of the parent's death")
def test_a_killed_supervisor_takes_its_child_with_it(tmp_path: Path) -> None:
    process = subprocess.Popen(
        command("sh", "-c", "echo $$; exec sleep 60"), stdout=subprocess.PIPE, env=environment(tmp_path), text=True
    )
    assert process.stdout is not None
    child = int(process.stdout.readline())
    process.kill()
    process.wait(10)
    deadline = time.monotonic() + 10
    while _runs(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _runs(child)
    process.communicate()


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_python_without_the_package_runs_but_no_mcp_server_in_it(tmp_path: Path) -> None:
    # -S keeps site-packages away from an otherwise complete Python; the boot directory is then run by hand.
    boot = f"import runpy; runpy.run_path({os.path.join(BOOT, 'sitecustomize.py')!r})"
    fake = tmp_path / "site" / "mcp" / "server"
    fake.mkdir(parents=True)
    (fake.parent / "__init__.py").touch()
    (fake / "__init__.py").touch()
    code = f"import sys; sys.path.insert(0, {str(tmp_path / 'site')!r}); {boot}; print('alive'); import mcp.server"
    environ = {name: value for name, value in environment(tmp_path).items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-S", "-u", "-c", code], capture_output=True, text=True, env=environ, timeout=60
    )
    assert (done.returncode, done.stdout) == (78, "alive\n")
    assert "has no opentelemetry-instrumentation-mcp-audit, so mcp.server cannot be audited" in done.stderr


def test_the_environment_of_the_child() -> None:
    environ = {"PYTHONPATH": os.pathsep.join(["/a", BOOT, "", "/b"]), "OTEL_TRACES_EXPORTER": "otlp"}
    prepare(environ)
    assert environ == {
        "PYTHONPATH": os.pathsep.join([BOOT, "/a", "/b"]),
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_MCP_AUDIT_FAIL_CLOSED": "1",
    }
