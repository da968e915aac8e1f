# SPDX-License-Identifier: Apache-2.0
"""Delivery inside a real audited server, started under ``opentelemetry-instrument``: answers, exits, signals, forks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from delivering import ids
from endpoint import Endpoint, Reply, Request, endpoint

SERVER = """
import asyncio, os, sys, time
from mcp.server.lowlevel import Server
try:
    from mcp import Client
    from mcp.server.mcpserver import MCPServer
except ImportError:
    print("no mcp 2"); sys.exit(3)
server = MCPServer("demo")
@server.tool()
def add(a: int, b: int) -> int:
    return a + b
async def main():
    async with Client(server) as client:
        for number in range(10):
            await client.call_tool("add", {"a": number, "b": 1})
        print("served", flush=True)
        THEN
asyncio.run(main())
AFTER
"""
INSTRUMENT = Path(sys.executable).with_name("opentelemetry-instrument")
pytestmark = pytest.mark.skipif(not INSTRUMENT.exists(), reason="opentelemetry-instrument is not installed here")


# Not one long sleep: a signal that comes right before it is in the kernel would be looked at after it only.
NAP = "[time.sleep(0.05) for _ in range(1200)]"


def start(
    directory: Path, url: str, then: str = "pass", after: str = "", code: str = SERVER, **environment: str
) -> subprocess.Popen[str]:
    """The server, with what it does after its first calls, and after it has ended."""
    exporters = {f"OTEL_{name}_EXPORTER": "none" for name in ("TRACES", "METRICS", "LOGS")}
    return subprocess.Popen(
        [str(INSTRUMENT), sys.executable, "-c", code.replace("THEN", then).replace("AFTER", after)],
        env={
            **os.environ,
            **exporters,
            "OTEL_MCP_AUDIT_DIR": str(directory),
            "OTEL_MCP_AUDIT_OTLP_ENDPOINT": url,
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def kept(other: Endpoint, directory: Path) -> bool:
    return sorted(other.kept) == sorted(ids(directory))


def test_a_server_that_ends_has_delivered_everything(tmp_path: Path) -> None:
    with endpoint() as other:
        process = start(tmp_path, other.url)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (0, "served\n"), err
        assert kept(other, tmp_path)
    assert len(err.splitlines()) == 1, err


def test_sigterm_where_the_program_has_no_handler(tmp_path: Path) -> None:
    with endpoint() as other:
        process = start(tmp_path, other.url, then=NAP)
        assert process.stdout is not None
        assert process.stdout.readline() == "served\n"
        process.terminate()
        began = time.monotonic()
        err = process.communicate(timeout=30)[1]
        assert process.returncode == -signal.SIGTERM, err
        assert time.monotonic() - began < 5
        assert kept(other, tmp_path)


def test_a_handler_of_the_program_stays(tmp_path: Path) -> None:
    code = "import signal; signal.signal(signal.SIGTERM, lambda *_: os._exit(7)); print('ready', flush=True); " + NAP
    with endpoint() as other:
        process = start(tmp_path, other.url, then=code)
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == ["served\n", "ready\n"]
        process.terminate()
        assert process.wait(30) == 7
        process.communicate()


@pytest.mark.parametrize("reply", [Reply(503, b""), Reply(after=30)], ids=["refuses", "hangs"])
def test_an_endpoint_that_is_ill_holds_up_no_exit_and_the_next_process_delivers(tmp_path: Path, reply: Reply) -> None:
    with endpoint(lambda request: reply._replace(keep=False)) as other:
        process = start(tmp_path, other.url, OTEL_MCP_AUDIT_SHUTDOWN_MS="300")
        assert process.stdout is not None
        assert process.stdout.readline() == "served\n"
        began = time.monotonic()
        process.communicate(timeout=60)
        assert time.monotonic() - began < 4
        assert other.kept == []
        other.script = lambda request: None
        start(tmp_path, other.url).communicate(timeout=60)
        assert kept(other, tmp_path)


def test_a_killed_server_s_records_are_delivered_by_the_next(tmp_path: Path) -> None:
    with endpoint(lambda request: Reply(503, b"")) as other:
        process = start(tmp_path, other.url, then="os.kill(os.getpid(), 9)")
        process.communicate(timeout=60)
        assert process.returncode == -9
        other.script = lambda request: None
        start(tmp_path, other.url).communicate(timeout=60)
        assert kept(other, tmp_path)


def test_a_forked_child_starts_its_own_shipper(tmp_path: Path) -> None:
    code = "pid = os.fork()\nasyncio.run(main())\nif pid == 0:\n    time.sleep(2)\n    os._exit(0)\nos.waitpid(pid, 0)"
    with endpoint() as other:
        process = start(tmp_path, other.url, after=code)
        err = process.communicate(timeout=60)[1]
        assert process.returncode == 0, err
        assert kept(other, tmp_path)
    assert len({path.name.split("-")[1] for path in tmp_path.glob("2*.jsonl")}) == 2


UVICORN = """
import asyncio, socket, threading
import uvicorn
from mcp import Client
from mcp.server.mcpserver import MCPServer
server = MCPServer("demo")
@server.tool()
def add(a: int, b: int) -> int:
    return a + b
listener = socket.create_server(("127.0.0.1", 0))
url = f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
async def calls():
    async with Client(url) as client:
        for number in range(10):
            await client.call_tool("add", {"a": number, "b": 1})
    print("served", flush=True)
threading.Thread(target=lambda: asyncio.run(calls()), daemon=True).start()
uvicorn.run(server.streamable_http_app(), fd=listener.fileno(), log_level="critical")
"""


def test_uvicorn_ended_by_sigterm_has_delivered_everything(tmp_path: Path) -> None:
    with endpoint() as other:
        process = start(tmp_path, other.url, code=UVICORN)
        assert process.stdout is not None
        assert process.stdout.readline() == "served\n", process.communicate(timeout=20)[1]
        process.terminate()
        err = process.communicate(timeout=30)[1]
        assert process.returncode == -signal.SIGTERM, err
        assert kept(other, tmp_path)


def test_a_poison_record_of_a_server_is_in_its_trail_as_a_gap(tmp_path: Path) -> None:
    poison: list[str] = []
    taken: list[str] = []

    def script(request: Request) -> Reply | None:
        # However the records fall into requests: the last one of the first that has another beside it or before it.
        if not poison and len(taken) + len(request.ids) > 1:
            poison.append(request.ids[-1])
        if poison and poison[0] in request.ids:
            return Reply(400, b"bad")
        taken.extend(request.ids)
        return None

    with endpoint(script) as other:
        err = start(tmp_path, other.url, then="time.sleep(2)").communicate(timeout=60)[1]
        assert set(ids(tmp_path)) - set(other.kept) == set(poison)
    assert "1 AUDIT RECORDS ARE NOT DELIVERED" in err
    gaps = [
        line
        for path in tmp_path.glob("2*.jsonl")
        for line in path.read_bytes().splitlines()
        if b"mcp_audit.gap" in line
    ]
    assert len(gaps) == 1 and b"quarantined: HTTP 400: bad" in gaps[0]


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("OTEL_MCP_AUDIT_OTLP_ENDPOINT", "nonsense", "'nonsense' is no URL"),
        ("OTEL_MCP_AUDIT_OTLP_PROTOCOL", "smtp", "'smtp' cannot be used; allowed: http/json, http/protobuf, grpc"),
        ("OTEL_MCP_AUDIT_OTLP_CERTIFICATE", "/no/such.pem", "/no/such.pem cannot be read"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/no/such.pem", "/no/such.pem cannot be read"),
        ("OTEL_MCP_AUDIT_OTLP_CERTIFICATE", __file__, "is no certificate"),
    ],
)
def test_bad_input_is_one_error_that_names_the_variable_and_the_journal_goes_on(
    tmp_path: Path, variable: str, value: str, says: str
) -> None:
    process = start(tmp_path, "https://localhost:9", **{variable: value})
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "served\n")
    told = [line for line in err.splitlines() if variable in line]
    assert len(told) == 1, err
    assert says in told[0]
    assert "NOTHING IS DELIVERED" in told[0]
    assert len(ids(tmp_path)) > 10


def test_the_status_file_says_how_it_goes(tmp_path: Path) -> None:
    code = (
        "time.sleep(1.5); await client.call_tool('add', {'a': 1, 'b': 1}); time.sleep(1.5); import shutil; "
        "shutil.copytree(os.environ['OTEL_MCP_AUDIT_DIR'] + '/status', os.environ['COPY'])"
    )
    with endpoint() as other:
        start(tmp_path / "j", other.url, then=code, COPY=str(tmp_path / "copy")).communicate(timeout=60)
    (path,) = (tmp_path / "copy").glob("*.json")
    found = json.loads(path.read_text())["delivery"]
    assert found["endpoint"] == f"{other.url}/v1/logs"
    assert (found["protocol"], found["delivers"], found["quarantined"]) == ("http/json", True, 0)
    assert found["exported"] > 10
