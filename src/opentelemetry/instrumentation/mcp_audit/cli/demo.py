# SPDX-License-Identifier: Apache-2.0
"""``otel-mcp-audit demo``: the main job on real servers and a real client, then the trail, then an attack on it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, TextIO

import click

_HERE: Final = Path(__file__).parent / "_demo"
_SECRET: Final = "hunter2-correct-horse"
_START_SECONDS: Final = 30.0
_KILL_AFTER: Final = 100


@click.command(epilog="\b\nExample:\n  otel-mcp-audit demo\n  otel-mcp-audit demo --keep ./trail")
@click.option(
    "--keep", type=click.Path(path_type=Path), help="Keep the journal in this directory, which must not exist."
)
def demo(keep: Path | None) -> None:
    """Run two MCP servers that nobody edited under audit, call them, kill one, show and verify the trail.

    Exit code 0 when everything went as told, 1 when not, 2 when the MCP SDK 2.x is missing.
    """
    if find_spec("mcp") is None or find_spec("mcp.server.mcpserver") is None:
        click.echo('the demo needs the MCP SDK 2.x: pip install "mcp>=2"', err=True)
        raise SystemExit(2)
    if keep is not None and keep.exists():
        raise click.UsageError(f"{keep} exists already")
    scratch = Path(tempfile.mkdtemp(prefix="otel-mcp-audit-demo-"))
    directory = scratch / "trail" if keep is None else keep.absolute()
    try:
        raise SystemExit(0 if _demo(directory, scratch) else 1)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _demo(directory: Path, scratch: Path) -> bool:
    import anyio

    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    environment = {**inherited, "OTEL_MCP_AUDIT_DIR": str(directory), "OTEL_SERVICE_NAME": "demo"}
    _title("1. An MCP server over stdio, started under audit: not a line of it edited, nothing imported")
    _shell("otel-mcp-audit run -- python stdio_server.py")
    log = (scratch / "servers.log").open("w", encoding="utf-8")
    anyio.run(_stdio_calls, environment, log)

    _title(
        "2. An MCP server over HTTP with bearer tokens; alice and bob call it; then kill -9 in the middle of bob's work"
    )
    port = _free_port()
    _shell(f"opentelemetry-instrument python http_server.py {port}")
    server = subprocess.Popen(
        [_program("opentelemetry-instrument"), sys.executable, str(_HERE / "http_server.py"), str(port)],
        env={**environment, **_NO_EXPORTERS},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=log,
    )
    try:
        _wait_for(port, server)
        url = f"http://127.0.0.1:{port}/mcp"
        anyio.run(_http_calls, url, "alice-token", (("search", {"query": "ada"}), ("delete", {"name": "Ada Lovelace"})))
        answered = anyio.run(_calls_until_killed, url, "bob-token", server)
    finally:
        server.kill()
        server.wait()
        log.close()
    click.echo(f"   kill -9 while bob called in four tasks; he had {answered} answers by then, and no exit handler ran")

    _title("3. The trail: one record a call, in files that were complete before each answer was sent")
    _command(directory, "query", "--limit", "9", str(directory))
    _command(directory, "query", "--tool", "search", "--user", "alice", "--format", "seed", str(directory))
    recorded = _recorded(directory, "bob")
    missing = "no answered call is missing" if recorded >= answered else "ANSWERED CALLS ARE MISSING"
    click.echo(f"   bob: {answered} answers received, {recorded} records in the trail: {missing}")

    _title(
        "4. The secret that a client put into an argument is nowhere on the disk, not even where the tool repeated it"
    )
    leaks = [
        path.name for path in sorted(directory.rglob("*")) if path.is_file() and _SECRET.encode() in path.read_bytes()
    ]
    _command(directory, "query", "--tool", "connect", "--format", "seed", str(directory))
    click.echo(f"   grep -r {_SECRET} {directory.name}/  ->  {', '.join(leaks) or 'nothing'}")

    _title("5. The verification")
    valid = _command(directory, "verify", str(directory))

    _title("6. A copy in which one word is changed: bob becomes alice")
    tampered = scratch / "tampered"
    shutil.copytree(directory, tampered)
    _forge(tampered)
    caught = _command(directory, "verify", str(tampered))
    good = valid == 0 and caught == 1 and not leaks and recorded >= answered
    click.echo(f"\n{'Everything went as told.' if good else 'SOMETHING WENT WRONG: see above.'}")
    return good


async def _stdio_calls(environment: dict[str, str], log: TextIO) -> None:
    from mcp import Client, StdioServerParameters
    from mcp.client.stdio import stdio_client

    parameters = StdioServerParameters(
        command=sys.executable,
        args=[
            "-m",
            "opentelemetry.instrumentation.mcp_audit.cli",
            "run",
            "--",
            sys.executable,
            str(_HERE / "stdio_server.py"),
        ],
        env=environment,
    )
    async with Client(stdio_client(parameters, errlog=log)) as client:
        await _call(client, "total", {"order_id": "A-17"})
        await _call(client, "total", {"order_id": "Z-99"})
        await _call(client, "total", {})
        await _call(client, "no_such_tool", {})
        await _call(client, "connect", {"host": "db1", "password": _SECRET})
        answer = await client.read_resource("orders://B-04")
        click.echo(f"   read orders://B-04 -> {answer.contents[0].text}")  # type: ignore[union-attr]


async def _http_calls(url: str, token: str, calls: tuple[tuple[str, dict[str, Any]], ...]) -> None:
    import httpx2
    from mcp import Client
    from mcp.client.streamable_http import streamable_http_client

    async with httpx2.AsyncClient(headers={"authorization": f"Bearer {token}"}) as http:
        async with Client(streamable_http_client(url, http_client=http)) as client:
            for name, arguments in calls:
                await _call(client, name, arguments)


async def _calls_until_killed(url: str, token: str, server: subprocess.Popen[bytes]) -> int:
    """Calls from four tasks; the server is killed behind the hundredth answer. Returns how many answers came."""
    import anyio
    import httpx2
    from mcp import Client
    from mcp.client.streamable_http import streamable_http_client

    answered = 0

    async def keep_calling(client: Any, scope: anyio.CancelScope) -> None:
        nonlocal answered
        while True:
            try:
                answer = await client.call_tool("search", {"query": "a"})
            except Exception:  # the server is gone, as it should be
                scope.cancel()
                return
            answered += 0 if answer.is_error else 1
            if answered == _KILL_AFTER:
                server.kill()
                server.wait()

    with anyio.move_on_after(_START_SECONDS):
        try:
            async with httpx2.AsyncClient(headers={"authorization": f"Bearer {token}"}) as http:
                async with Client(streamable_http_client(url, http_client=http)) as client:
                    async with anyio.create_task_group() as group:
                        for _ in range(4):
                            group.start_soon(keep_calling, client, group.cancel_scope)
        except Exception as error:  # ending a session with a server that was killed
            click.echo(f"   the client lost its server: {type(error).__name__}")
    return answered


def _recorded(directory: Path, user: str) -> int:
    needle = f'"key":"user.id","value":{{"stringValue":"{user}"}}'.encode()
    return sum(path.read_bytes().count(needle) for path in directory.glob("*.jsonl"))


async def _call(client: Any, name: str, arguments: dict[str, Any]) -> None:
    try:
        answer = await client.call_tool(name, arguments)
        told = answer.content[0].text if answer.content else ""
        mark = "error " if answer.is_error else ""
    except Exception as error:  # an answer like any other here: the demo shows what the client gets
        told, mark = str(error), "error "
    shown = {key: "…" if value == _SECRET else value for key, value in arguments.items()}
    click.echo(
        f"   call {name} {shown} -> {mark}{told.replace(_SECRET, '…').splitlines()[0][:70] if told else '(nothing)'}"
    )


def _forge(directory: Path) -> None:
    for path in sorted(directory.glob("*.jsonl")):
        text = path.read_bytes()
        if b'"stringValue":"bob"' in text:
            path.write_bytes(text.replace(b'"stringValue":"bob"', b'"stringValue":"alice"', 1))
            return


def _command(directory: Path, *arguments: str) -> int:
    shown = " ".join(os.path.relpath(item, directory.parent) if os.path.isabs(item) else item for item in arguments)
    _shell(f"otel-mcp-audit {shown}")
    done = subprocess.run(
        [sys.executable, "-m", "opentelemetry.instrumentation.mcp_audit.cli", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    for line in (done.stdout + done.stderr).splitlines():
        click.echo(f"   {line}")
    click.echo(f"   (exit code {done.returncode})")
    return done.returncode


def _title(text: str) -> None:
    click.echo()
    click.secho(text, bold=True)


def _shell(text: str) -> None:
    click.secho(f"   $ {text}", fg="cyan")


def _program(name: str) -> str:
    beside = Path(sys.executable).parent / name
    return str(beside) if beside.exists() else name


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        with socket.socket() as probe:
            probe.settimeout(0.2)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise click.ClickException(f"the HTTP server did not come up on port {port}")


# Without a Collector the stock exporters would only delay the exit and fill stderr.
_NO_EXPORTERS: Final = {f"OTEL_{signal_}_EXPORTER": "none" for signal_ in ("TRACES", "METRICS", "LOGS")}
