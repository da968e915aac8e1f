# SPDX-License-Identifier: Apache-2.0
"""``tail``, ``query``, ``export``, ``verify`` as a user calls them."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from ledgers import ledger_of
from trail_oracle import START, Trail, sample

from opentelemetry.instrumentation.mcp_audit.cli.app import app

SRC = Path(__file__).parents[2] / "src"
CALLS = (
    ("patient_read", "ada", "acme", "success", "ok"),
    ("patient_write", "bob", "acme", "failure", "tool_error"),
    ("search", "ada", "beta", "failure", "invalid_arguments"),
    ("search", "cyd", "beta", "unknown", "cancelled"),
)


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    trail = Trail()
    for number, (tool, user, tenant, outcome, detail) in enumerate(CALLS):
        trail.call(
            tool,
            user=user,
            outcome=outcome,
            detail=detail,
            trace=f"{number + 10:032x}",
            **{"mcp_audit.tenant.id": tenant, "user.email": f"{user}@{tenant}.example"},
        )
    trail.system("gap", {"mcp_audit.gap.count": 3}, event="mcp_audit.gap")
    trail.close()
    directory = tmp_path / "svc"
    directory.mkdir()
    trail.write(directory)
    ledger_of(trail).write(directory)
    return tmp_path


def run(*arguments: str | Path, env: dict[str, str] | None = None) -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env=env)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    return result


def spawn(*arguments: str | Path, **options: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "opentelemetry.instrumentation.mcp_audit.cli", *map(str, arguments)]
    environ = {**os.environ, "PYTHONPATH": str(SRC)}
    return subprocess.Popen(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ)


def found(journal: Path, *arguments: str) -> list[tuple[str, str]]:
    result = run("query", "--json", *arguments, journal)
    assert result.exit_code == 0
    flat = [json.loads(line) for line in result.stdout.splitlines()]
    return [(item.get("gen_ai.tool.name", item["event"]), item["audit.actor.id"]) for item in flat]


EVERYTHING = [
    ("patient_read", "ada"),
    ("patient_write", "bob"),
    ("search", "ada"),
    ("search", "cyd"),
    ("mcp_audit.gap", "system"),
]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), EVERYTHING),
        (("--tool", "patient_*"), EVERYTHING[:2]),
        (("--tool", "PATIENT_*"), []),
        (("--user", "ada"), [EVERYTHING[0], EVERYTHING[2]]),
        (("--user", "*@beta.example"), EVERYTHING[2:4]),
        (("--tenant", "ac?e"), EVERYTHING[:2]),
        (("--outcome", "failure"), EVERYTHING[1:3]),
        (("--detail", "invalid_*"), [EVERYTHING[2]]),
        (("--event", "gap"), [EVERYTHING[4]]),
        (
            ("--event", "mcp_audit.gap", "--event", "lifecycle"),
            [("mcp_audit.lifecycle", "system"), EVERYTHING[4], ("mcp_audit.lifecycle", "system")],
        ),
        (("--trace", f"{11:032X}"), [EVERYTHING[1]]),
        (("--limit", "2"), EVERYTHING[:2]),
        (("--tool", "search", "--outcome", "unknown"), [EVERYTHING[3]]),
        (("--since", "2025-11-24T16:00:04Z"), EVERYTHING[2:]),
        (("--since", "2025-11-24T17:00:04+01:00", "--until", "2025-11-24T16:00:05"), [EVERYTHING[2]]),
        (("--until", "2025-11-24"), []),
        (("--since", "1h"), []),
    ],
)
def test_query_filters(journal: Path, arguments: tuple[str, ...], expected: list[tuple[str, str]]) -> None:
    assert found(journal, *arguments) == expected


def test_query_all_shows_streams_too(journal: Path) -> None:
    assert len(found(journal, "--all")) == 7


@pytest.mark.parametrize("bad", ["yesterday", "1y", "", "2026-13-01"])
def test_a_time_that_is_none_is_a_usage_error(journal: Path, bad: str) -> None:
    result = run("query", "--since", bad, journal)
    assert result.exit_code == 2
    assert "is no time" in result.stderr


def test_query_formats(journal: Path) -> None:
    seed = [json.loads(line) for line in run("query", "--format", "seed", "--user", "bob", journal).stdout.splitlines()]
    assert [(item["tool"], item["outcome"]) for item in seed] == [("patient_write", "failure")]
    otlp = run("query", "--format", "otlp", "--user", "bob", journal).stdout
    assert otlp.encode() in next((journal / "svc").glob("2*.jsonl")).read_bytes()
    rows = list(csv.DictReader(io.StringIO(run("query", "--format", "csv", journal).stdout)))
    assert [row["tool"] for row in rows] == ["patient_read", "patient_write", "search", "search", ""]
    table = run("query", journal).stdout.splitlines()
    assert len(table) == 6 and table[0].startswith("TIME") and "\x1b" not in "".join(table)


def test_paths_come_from_the_environment(journal: Path, tmp_path: Path) -> None:
    assert len(run("query", env={"OTEL_MCP_AUDIT_DIR": str(journal / "svc")}).stdout.splitlines()) == 6
    state = tmp_path / "state"
    state.mkdir()
    (journal / "svc").rename(state / "svc")
    state.rename(tmp_path / "otel-mcp-audit")
    environ = {"OTEL_MCP_AUDIT_DIR": "", "XDG_STATE_HOME": str(tmp_path)}
    assert len(run("query", env=environ).stdout.splitlines()) == 6
    assert run("verify", env=environ).exit_code == 0


def test_nothing_to_read_is_exit_2(tmp_path: Path) -> None:
    for command in ("query", "tail", "export", "verify"):
        for path in (tmp_path, tmp_path / "nope"):
            result = run(command, path)
            assert result.exit_code == 2, command
            assert str(path) in result.stderr + (result.stdout if command == "verify" else "")


def test_garbage_is_told_with_its_place_and_passed(journal: Path) -> None:
    path = next((journal / "svc").glob("2*.jsonl"))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], b"\x00\xff garbage\n", *lines[2:], b'{"resource']))
    result = run("query", "--json", journal)
    assert len(result.stdout.splitlines()) == 5
    assert result.stderr == f"{path}:3: not UTF-8 text (byte 1 of the line)\n"


def test_tail_shows_the_newest(journal: Path) -> None:
    shown = run("tail", "-n", "2", journal).stdout.splitlines()
    assert len(shown) == 2
    assert "cancelled" in shown[0] and "gap: 3 records lost" in shown[1]
    assert run("tail", "-n", "0", journal).stdout == ""
    one = run("tail", "-n", "1", "--json", "--outcome", "failure", journal).stdout
    assert json.loads(one)["mcp_audit.outcome.detail"] == "invalid_arguments"


def test_tail_follows(tmp_path: Path) -> None:
    trail = sample(3)
    lines = trail.lines()
    directory = tmp_path / "later"
    process = spawn("tail", "-f", "--json", directory)
    try:
        assert process.stderr is not None and process.stdout is not None
        assert "waiting for one" in process.stderr.readline()
        directory.mkdir()
        path = trail.write(directory, lines[:2])
        assert json.loads(process.stdout.readline())["gen_ai.tool.name"] == "tool_0"
        with open(path, "ab") as file:
            file.write(lines[2])
        assert json.loads(process.stdout.readline())["gen_ai.tool.name"] == "tool_1"
        process.send_signal(2)
        assert process.wait(10) == 130
        assert process.stderr.read() == ""
    finally:
        process.kill()
        process.communicate()


def test_a_closed_pipe_is_quiet(tmp_path: Path) -> None:
    trail = Trail()
    for _ in range(2000):
        trail.call()
    trail.write(tmp_path)
    process = spawn("query", "--json", tmp_path)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(10) == 141


def test_export_writes_a_private_file_once(journal: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.json"
    result = run("export", "--tool", "patient_*", "-o", target, journal)
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", f"2 records in {target}\n")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    before = target.read_bytes()
    result = run("export", "-o", target, journal)
    assert result.exit_code == 1 and "is there already" in result.stderr
    assert target.read_bytes() == before
    assert run("export", "-o", target, "--force", journal).exit_code == 0
    assert len(target.read_bytes().splitlines()) == 5
    assert run("export", "-o", tmp_path / "no" / "where", journal).exit_code == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.json", "svc"]


def test_an_otlp_export_of_everything_still_verifies(journal: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    target = tmp_path / "elsewhere" / "copy.jsonl"
    assert run("export", "--format", "otlp", "-o", target, journal).exit_code == 0
    assert run("verify", target).exit_code == 0
    assert target.read_bytes() == next((journal / "svc").glob("2*.jsonl")).read_bytes()


def test_verify_says_where(journal: Path) -> None:
    path = next((journal / "svc").glob("2*.jsonl"))
    good = run("verify", journal)
    assert good.exit_code == 0
    assert "; 0 violations, 0 notes" in good.stdout
    assert "tier keyless: " in good.stdout
    path.write_bytes(path.read_bytes().replace(b'"stringValue":"bob"', b'"stringValue":"eve"', 1))
    bad = run("verify", journal)
    assert bad.exit_code == 1
    assert f"VIOLATED {path}:3: the record is not what was written" in bad.stdout
    assert f"first violation: {path}:3: " in bad.stdout
    report = json.loads(run("verify", "--json", journal).stdout)
    assert (report["verdict"], report["first_violation"]["line"]) == ("violated", 3)


def test_verify_strict_makes_notes_count(tmp_path: Path) -> None:
    trail = Trail()
    trail.write(tmp_path)
    assert run("verify", tmp_path).exit_code == 0
    strict = run("verify", "--strict", tmp_path)
    assert strict.exit_code == 1
    assert "VALID, with notes (--strict)" in strict.stdout


def test_verify_foreign_takes_no_power_cut_for_an_excuse(tmp_path: Path) -> None:
    trail = Trail(boot="of another machine")
    trail.call()
    trail.call()
    trail.write(tmp_path, [*trail.lines()[:1], *trail.lines()[2:]])
    ledger_of(trail).write(tmp_path)
    assert run("verify", tmp_path).exit_code == 0
    assert run("verify", "--foreign", tmp_path).exit_code == 1


@pytest.mark.parametrize("command", ["run", "tail", "query", "verify", "doctor", "export"])
def test_help_has_examples_and_exit_codes(command: str) -> None:
    text = run(command, "--help").stdout
    assert "Example" in text and "Exit codes" in text and f"otel-mcp-audit {command}" in text


def test_help_is_quick_and_imports_no_sdk() -> None:
    code = (
        "import sys; sys.argv = ['otel-mcp-audit', '--help']\n"
        "from opentelemetry.instrumentation.mcp_audit.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'mcp', 'fastmcp', 'pydantic', 'sqlite3', 'asyncio'}))\n"
        "print([m for m in sys.modules if m.startswith('opentelemetry.sdk')])\n"
    )
    began = time.monotonic()
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(SRC)}
    )
    assert result.stdout.splitlines()[-2:] == ["[]", "[]"]
    assert time.monotonic() - began < 10


def test_without_click_it_says_which_extra(tmp_path: Path) -> None:
    (tmp_path / "click.py").write_text("raise ModuleNotFoundError('No module named click', name='click')\n")
    result = subprocess.run(
        [sys.executable, "-c", "from opentelemetry.instrumentation.mcp_audit.cli import main; main()"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(SRC)])},
    )
    assert result.returncode == 2
    assert result.stderr == (
        'otel-mcp-audit needs the extra "cli": pip install "opentelemetry-instrumentation-mcp-audit[cli]"\n'
    )


def test_the_oracle_s_clock_is_what_the_tests_say() -> None:
    assert START == 1_764_000_000_000_000_000
