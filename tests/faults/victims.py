# SPDX-License-Identifier: Apache-2.0
"""A server that is there to be killed, in every form in which servers are started; it knows nothing of auditing.

``victims.py`` serves over stdio; ``victims:app`` is for uvicorn and gunicorn; ``victims.py fork PORT…`` and
``victims.py spawn PORT…`` start a process a port with multiprocessing. Each tool leaves in the file MCP_AUDIT_TEST_BEGAN
the number of its call before it does anything: such a call had surely begun when the server was killed. With a number in
MCP_AUDIT_TEST_FIRST the process that starts the others calls itself before it does: it has a journal of its own by then.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sys
import time
from typing import Any

import uvicorn
from mcp import Client
from mcp.server.mcpserver import MCPServer

mcp = MCPServer("victims", log_level="CRITICAL")


def _began(number: int) -> None:
    descriptor = os.open(os.environ["MCP_AUDIT_TEST_BEGAN"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(descriptor, f"{number}\n".encode())
    os.close(descriptor)


@mcp.tool()
async def work(number: int, milliseconds: int, padding: str = "") -> int:
    """Takes its time; the process that did it."""
    _began(number)
    await asyncio.sleep(milliseconds / 1000)
    return os.getpid()


@mcp.tool()
def fork(number: int, milliseconds: int) -> int:
    """Leaves a child behind that outlives a killed server for a moment, with all that it inherited."""
    _began(number)
    if os.fork() == 0:
        for descriptor in (0, 1, 2):
            os.close(descriptor)
        time.sleep(2)
        os._exit(0)
    time.sleep(milliseconds / 1000)
    return os.getpid()


def serve(port: int) -> None:
    uvicorn.run(app, port=port, log_level="critical", access_log=False)


async def first_call(number: int) -> None:
    meta: Any = {"x-request-id": f"call-{number}"}
    async with Client(mcp) as client:
        await client.call_tool("work", {"number": number, "milliseconds": 0}, meta=meta)


# Once: a process that multiprocessing spawns imports this module too.
if "MCP_AUDIT_TEST_FIRST" in os.environ:
    asyncio.run(first_call(int(os.environ.pop("MCP_AUDIT_TEST_FIRST"))))

app = mcp.streamable_http_app(json_response=True, stateless_http=True)

if __name__ == "__main__":
    if len(sys.argv) == 1:
        mcp.run()
    else:
        multiprocessing.set_start_method(sys.argv[1])
        processes = [multiprocessing.Process(target=serve, args=(int(port),)) for port in sys.argv[2:]]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
