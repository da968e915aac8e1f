# SPDX-License-Identifier: Apache-2.0
"""The rows of the coverage matrix: what can become of a request, over what, and why some of it has no test.

Imports nothing: the page is made by a Python that has no pytest.
"""

from __future__ import annotations

TRANSPORTS = (
    "memory",
    "memory-modern",
    "stdio",
    "stdio-modern",
    "http-sse",
    "http-stateful",
    "http-stateless",
    "http-modern",
)

# What can become of a request. Each has at least one cell in each stack (test_cells.py); a mark may name others too.
OUTCOMES = (
    "success",
    "tool raised",
    "isError result",
    "unknown tool",
    "invalid arguments",
    "invalid output",
    "unknown method",
    "malformed params",
    "request before initialize",
    "cancelled by client",
    "client gone",
    "tool timeout",
    "input_required round",
    "task created",
    "resource read",
    "prompt get",
    "server-initiated elicitation or sampling",
    "HTTP 401",
    "HTTP 403",
    "wrong session owner (404)",
    "bad Host or Origin (421/403)",
    "undeliverable or unserialisable response",
    "process killed inside a tool (abandoned)",
    "no phantom and no duplicate",
)


NO_HTTP = "there is no HTTP request that could be refused"
NO_SESSION = "there are no sessions"
_BESIDE_HTTP = ("memory", "memory-modern", "stdio", "stdio-modern")

# Why an outcome has no test over a transport on any stack: it cannot happen there.
UNTESTED = {
    **{("HTTP 401", transport): NO_HTTP for transport in _BESIDE_HTTP},
    **{("HTTP 403", transport): NO_HTTP for transport in _BESIDE_HTTP},
    **{("bad Host or Origin (421/403)", transport): NO_HTTP for transport in _BESIDE_HTTP},
    **{("wrong session owner (404)", transport): NO_HTTP for transport in _BESIDE_HTTP},
    ("wrong session owner (404)", "http-stateless"): NO_SESSION,
    ("wrong session owner (404)", "http-modern"): NO_SESSION,
    ("request before initialize", "memory"): "clients in memory initialize by themselves",
    ("request before initialize", "http-stateless"): "the transport initializes each session itself",
    **{
        ("request before initialize", transport): "2026-07-28 has no initialize"
        for transport in ("memory-modern", "stdio-modern", "http-modern")
    },
    **{
        ("input_required round", transport): "protocols before 2026-07-28 have no such rounds"
        for transport in ("memory", "stdio", "http-sse", "http-stateful", "http-stateless")
    },
    ("task created", "http-stateless"): "a session that ends with its request has no tasks",
    **{
        ("server-initiated elicitation or sampling", transport): "2026-07-28 asks in rounds instead"
        for transport in ("memory-modern", "stdio-modern", "http-modern")
    },
    ("server-initiated elicitation or sampling", "http-stateless"): "a server without sessions cannot ask",
    **{
        ("undeliverable or unserialisable response", transport): "nothing is made text in memory"
        for transport in ("memory", "memory-modern")
    },
    (
        "undeliverable or unserialisable response",
        "http-modern",
    ): "bytes are sent whatever they are: the client reads them",
}
