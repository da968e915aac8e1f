# SPDX-License-Identifier: Apache-2.0
"""Rows with real servers, over HTTP under uvicorn and gunicorn, and over stdio as an MCP client starts and ends them."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from emitting import Tally
from receiver import Mode
from rows import Row, Side
from scenes import NotRun, ended, receiving, settle, start, wait_until
from sides import BIN, HERE, Outcome, environment, exit_text, tallied

from collector import free_port

_CLIENTS = 10


def http(
    command: Callable[[int], list[str]], needs: str = "", end: int = signal.SIGTERM
) -> Callable[[Row, Side, Path], Outcome]:
    """A server that listens on the port it is given; all requests are answered, then it gets the signal ``end``."""

    def scene(row: Row, side: Side, home: Path) -> Outcome:
        if needs and find_spec(needs) is None:
            raise NotRun(f"{needs} is not installed")
        with receiving(row) as receiver:
            environ = environment(side, row, home, receiver.url)
            port = free_port()
            process = start([str(BIN / "opentelemetry-instrument"), *command(port)], environ, home)
            try:
                asyncio.run(_requests(f"http://127.0.0.1:{port}/mcp", row.count, Tally(str(home / "tally"))))
                began = time.monotonic()
                process.send_signal(end)
                code = ended(process, 60)
            finally:
                process.kill()
            outcome = Outcome(exit=exit_text(code), seconds=time.monotonic() - began)
            outcome.at_once = len(tallied(home) & set(receiver.kept.marks))
            settle(outcome, side, home, receiver, environ)
            return outcome

    return scene


async def _requests(url: str, count: int, tally: Tally) -> None:
    from mcp import Client

    async def some(numbers: range) -> None:
        async with Client(url) as client:
            for number in numbers:
                mark = f"mark-http-{number}-end"
                await client.call_tool("work", {"mark": mark})
                tally.add(mark)

    await _until_it_listens(url)
    await asyncio.gather(*(some(range(first, count, _CLIENTS)) for first in range(_CLIENTS)))


async def _until_it_listens(url: str) -> None:
    port = int(url.rsplit(":", 1)[1].split("/", maxsplit=1)[0])
    for _ in range(600):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.1)
            continue
        writer.close()
        return
    raise AssertionError("the server does not listen")


def stdio(row: Row, side: Side, home: Path) -> Outcome:
    """The client of the MCP SDK starts the server, calls it and closes: end of input, after 2 s SIGTERM, then SIGKILL."""
    with receiving(row) as receiver:
        environ = environment(side, row, home, receiver.url)
        seconds = asyncio.run(_session(environ, row.count, home))
        outcome = Outcome(exit="as the client ends it", seconds=seconds)
        # What the process group still sends, if the client left it alive.
        wait_until(lambda: False, 0.5)
        outcome.at_once = len(tallied(home) & set(receiver.kept.marks))
        receiver.tell(Mode())
        settle(outcome, side, home, receiver, environ)
        return outcome


async def _session(environ: dict[str, str], count: int, home: Path) -> float:
    """How long closing took."""
    from mcp import Client
    from mcp.client.stdio import StdioServerParameters, stdio_client

    tally = Tally(str(home / "tally"))
    arguments = [sys.executable, str(HERE / "served.py")]
    parameters = StdioServerParameters(
        command=str(BIN / "opentelemetry-instrument"), args=arguments, env=environ, cwd=home
    )
    with (home / "emitter.said").open("w") as errors:
        async with Client(stdio_client(parameters, errlog=errors)) as client:
            for number in range(count):
                mark = f"mark-stdio-{number}-end"
                await client.call_tool("work", {"mark": mark})
                tally.add(mark)
            began = time.monotonic()
    return time.monotonic() - began


_UVICORN = [sys.executable, "-m", "uvicorn", "served:app", "--log-level", "error", "--port"]
_GUNICORN = [sys.executable, "-m", "gunicorn", "served:app", "-w", "2", "-k", "uvicorn_worker.UvicornWorker"]
_GUNICORN += ["--log-level", "error", "--bind"]
SCENES = {
    "uvicorn": http(lambda port: [*_UVICORN, str(port)]),
    "uvicorn_sigint": http(lambda port: [*_UVICORN, str(port)], end=signal.SIGINT),
    "uvicorn_workers": http(lambda port: [*_UVICORN, str(port), "--workers", "2"]),
    "gunicorn": http(lambda port: [*_GUNICORN, f"127.0.0.1:{port}"], needs="uvicorn_worker"),
    "stdio": stdio,
}
