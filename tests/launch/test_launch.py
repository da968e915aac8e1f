# SPDX-License-Identifier: Apache-2.0
"""Every way to start a server that the README names: real processes, real requests, one record a call."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from venvs import build_wheel, prepare, uv
from wire import Wire

HERE = Path(__file__).parent
PROGRAMS = HERE / "programs"
REQUIREMENTS = [
    "mcp[cli]==2.3.0",
    "fastmcp==4.1.2",
    "uvicorn>=0.30,<1",
    "gunicorn>=23,<27",
    "uvicorn-worker>=0.3,<1",
    str(HERE / "package"),
]
STARTERS = {"instrument": ["opentelemetry-instrument"], "run": ["otel-mcp-audit", "run", "--"]}
CALLS = 12
pytestmark = [pytest.mark.timeout(600), pytest.mark.skipif(os.name != "posix", reason="POSIX processes")]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the programs are installed, and the wheel of this project."""

    bin: Path
    wheel: Path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    wheel = build_wheel(tmp_path_factory.mktemp("wheel"))
    return Place(prepare("launch", REQUIREMENTS, wheel), wheel)


FORMS = {
    "python server.py": ["{bin}/python", "{programs}/server.py"],
    "python -m": ["{bin}/python", "-m", "launch_server"],
    "console script": ["launch-server"],
    "uv run": ["{uv}", "run", "--no-project", "--with", "{wheel}", "--with", "{package}", "{programs}/server.py"],
    "uvx --with": ["{uv}", "tool", "run", "--with", "{wheel}", "--from", "{package}", "launch-server"],
    "mcp run": ["mcp", "run", "{programs}/server.py"],
    "fastmcp run": ["fastmcp", "run", "{programs}/fast.py", "--no-banner"],
}


def command(form: list[str], place: Place) -> list[str]:
    names = {
        "bin": place.bin,
        "programs": PROGRAMS,
        "uv": uv(),
        "wheel": place.wheel,
        "package": HERE / "package",
    }
    return [part.format(**names) for part in form]


def environment(place: Place, trail: Path, starter: str) -> dict[str, str]:
    """A user's shell, with the audit's directory; exporters are off, as the README says they must be."""
    kept = {
        name: os.environ[name]
        for name in ("PATH", "HOME", "LANG", "UV_INDEX_URL", "UV_CACHE_DIR")
        if name in os.environ
    }
    kept |= {name: value for name, value in os.environ.items() if name.startswith(("UV_", "PIP_", "SSL_"))}
    none = {f"OTEL_{kind}_EXPORTER": "none" for kind in ("TRACES", "METRICS", "LOGS")}
    return {
        **kept,
        "PATH": f"{place.bin}:{os.environ['PATH']}",
        "OTEL_MCP_AUDIT_DIR": str(trail),
        **(none if starter == "instrument" else {}),
    }


def records(trail: Path) -> list[dict[str, Any]]:
    """The outcome records of all segments, as attributes by name."""
    found = []
    for path in sorted(trail.glob("*.jsonl")):
        for line in path.read_bytes().splitlines():
            record = json.loads(line)["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]
            attributes = {item["key"]: next(iter(item["value"].values())) for item in record["attributes"]}
            if "mcp_audit.outcome.detail" in attributes:
                found.append(attributes)
    return found


def verified(place: Place, trail: Path, *options: str) -> None:
    done = subprocess.run(
        [place.bin / "otel-mcp-audit", "verify", *options, trail], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


def converse(argv: list[str], env: dict[str, str], home: Path) -> None:
    """Two calls and a list over stdio; anything but JSON-RPC on stdout fails."""
    with Wire(argv, env, home) as wire:
        wire.initialize()
        wire.request("tools/list", {})
        for a in (1, 2):
            answer = wire.request("tools/call", {"name": "add", "arguments": {"a": a, "b": 40}})
            assert answer["result"]["content"][0]["text"] == str(a + 40)
    assert wire.ending is not None
    assert (wire.ending.returncode, wire.ending.killed) == (0, False), wire.ending.stderr


@pytest.mark.parametrize("starter", STARTERS)
@pytest.mark.parametrize("form", FORMS)
def test_over_stdio(form: str, starter: str, place: Place, tmp_path: Path) -> None:
    trail = tmp_path / "trail"
    converse([*STARTERS[starter], *command(FORMS[form], place)], environment(place, trail, starter), tmp_path)
    found = records(trail)
    assert [(record["gen_ai.tool.name"], record["mcp_audit.outcome.detail"]) for record in found] == [("add", "ok")] * 2
    assert {record["network.transport"] for record in found} == {"pipe"}
    verified(place, trail, "--strict")


WEB = {
    "uvicorn": ["uvicorn", "web:app", "--port", "{port}", "--log-level", "warning"],
    "uvicorn --workers": ["uvicorn", "web:app", "--port", "{port}", "--log-level", "warning", "--workers", "2"],
    "gunicorn -w": ["gunicorn", "web:app", "-k", "uvicorn_worker.UvicornWorker", "-b", "127.0.0.1:{port}", "-w", "2"],
    "gunicorn --preload": [
        *(
            "gunicorn",
            "web:app",
            "-k",
            "uvicorn_worker.UvicornWorker",
            "-b",
            "127.0.0.1:{port}",
            "-w",
            "2",
            "--preload",
        ),
    ],
}


def post(port: int, message: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/mcp",
        json.dumps({"jsonrpc": "2.0", **message}).encode(),
        {"content-type": "application/json", "accept": "application/json, text/event-stream"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        found: dict[str, Any] = json.load(answer)
        return found


@contextmanager
def serving(argv: list[str], env: dict[str, str], home: Path, port: int) -> Iterator[None]:
    """The server until it answers; ended by SIGTERM, which must be enough."""
    with (home / "log.txt").open("w+b") as log:
        process = subprocess.Popen(argv, env=env, cwd=PROGRAMS, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    post(port, {"id": 0, "method": "ping"})
                    break
                except (urllib.error.URLError, ConnectionError):
                    said = (home / "log.txt").read_text()
                    assert process.poll() is None, said
                    assert time.monotonic() < deadline, said
                    time.sleep(0.1)
            yield
            process.send_signal(signal.SIGTERM)
            process.wait(30)
        finally:
            if process.poll() is None:
                process.kill()
                process.wait(30)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@pytest.mark.parametrize("starter", STARTERS)
@pytest.mark.parametrize("form", WEB)
def test_over_http(form: str, starter: str, place: Place, tmp_path: Path) -> None:
    trail, port = tmp_path / "trail", free_port()
    argv = [*STARTERS[starter], *(part.format(port=port) for part in WEB[form])]
    with serving(argv, environment(place, trail, starter), tmp_path, port), ThreadPoolExecutor(4) as pool:
        ask = {"method": "tools/call", "params": {"name": "pid", "arguments": {}}}
        answers = list(pool.map(lambda number: post(port, {"id": number, **ask}), range(CALLS)))
    workers = {answer["result"]["content"][0]["text"] for answer in answers}
    found = records(trail)
    assert sorted(int(record["jsonrpc.request.id"]) for record in found) == list(range(CALLS))
    assert {record["gen_ai.tool.name"] for record in found} == {"pid"}
    # Each process that answered has a segment of its own: <time>-<pid>-<stream>.jsonl.
    assert workers <= {path.name.split("-")[1] for path in trail.glob("*-*.jsonl")}
    # Not strictly: uvicorn ends itself by the signal that it was sent, which leaves its stream without an end record.
    verified(place, trail)


@pytest.mark.parametrize("shape", ["mcpServers", "servers"])
def test_a_desktop_client_s_configuration(shape: str, place: Place, tmp_path: Path) -> None:
    """As a client does it: the command of the file, in an environment that has next to nothing."""
    trail, config = tmp_path / "trail", tmp_path / "client.json"
    entry = {
        "command": str(place.bin / "python"),
        "args": ["-m", "launch_server"],
        "env": {"OTEL_MCP_AUDIT_DIR": str(trail)},
    }
    config.write_text("// by hand\n" + json.dumps({shape: {"launch": entry}}, indent=2))
    subprocess.run([place.bin / "otel-mcp-audit", "wrap", config], check=True, timeout=60, capture_output=True)
    server = json.loads(config.read_text().removeprefix("// by hand\n"))[shape]["launch"]
    bare = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    converse([server["command"], *server["args"]], bare | server["env"], tmp_path)
    assert len(records(trail)) == 2
    verified(place, trail)


def test_a_desktop_client_that_starts_uvx(place: Place, tmp_path: Path) -> None:
    trail, config = tmp_path / "trail", tmp_path / "client.json"
    uvx = shutil.which("uvx", path=str(Path(uv()).parent))
    assert uvx is not None, "uvx comes with uv"
    entry = {"command": uvx, "args": ["--from", str(HERE / "package"), "launch-server"]}
    config.write_text(json.dumps({"mcpServers": {"launch": entry}}))
    wrap = [place.bin / "otel-mcp-audit", "wrap", config, "--with", str(place.wheel)]
    subprocess.run(wrap, check=True, timeout=60, capture_output=True)
    server = json.loads(config.read_text())["mcpServers"]["launch"]
    converse([server["command"], *server["args"]], environment(place, trail, "run"), tmp_path)
    assert len(records(trail)) == 2


# --- what keeps the audit from being loaded --------------------------------------------------------------------------

NOT_LOADED = {
    "-I": (["-I"], {}),
    "-E": (["-E"], {}),
    "-S": (["-S"], {}),
    "disabled": ([], {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "mcp_audit"}),
    "typo": ([], {"OTEL_TRACES_EXPORTER": "otpl"}),
}


@pytest.mark.parametrize("cause", NOT_LOADED)
def test_what_keeps_it_from_being_loaded(cause: str, place: Place, tmp_path: Path) -> None:
    """Under ``opentelemetry-instrument`` the server runs unaudited; under ``run`` it does not run, or the audit does."""
    options, extra = NOT_LOADED[cause]
    site = {"PYTHONPATH": str(next((place.bin.parent / "lib").glob("python*/site-packages")))} if cause == "-S" else {}
    argv = [str(place.bin / "python"), *options, str(PROGRAMS / "server.py")]
    trail = tmp_path / "trail"
    env = environment(place, trail, "instrument") | extra | site
    with Wire(["opentelemetry-instrument", *argv], env, tmp_path) as wire:
        wire.initialize()
        wire.request("tools/call", {"name": "add", "arguments": {"a": 1, "b": 2}})
    assert wire.ending is not None
    assert records(trail) == []
    said = {
        "disabled": "NOT AUDITED: turned off by OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=mcp_audit",
        "typo": "Failed to auto initialize OpenTelemetry",
    }
    assert said.get(cause, "") in wire.ending.stderr

    env = environment(place, trail, "run") | extra | site
    shutil.rmtree(trail, ignore_errors=True)
    if cause == "typo":
        converse(["otel-mcp-audit", "run", "--", *argv], env, tmp_path)
        assert len(records(trail)) == 2
        return
    done = subprocess.run(
        ["otel-mcp-audit", "run", "--", *argv], env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (78, "")
    assert done.stderr.startswith("otel-mcp-audit run: not started: ")
