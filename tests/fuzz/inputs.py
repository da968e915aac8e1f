# SPDX-License-Identifier: Apache-2.0
"""Seeded inputs for the wire: from valid requests to bytes that are nothing. One input is one chunk of bytes.

The ``n``-th input of a seed is always the same. Requests that are meant to be valid carry the id ``n``.
"""

from __future__ import annotations

import json
import random
import string
from collections.abc import Callable, Iterator
from typing import Any

METHODS = [
    "ping", "initialize", "tools/list", "tools/call", "resources/list", "resources/read", "resources/templates/list",
    "resources/subscribe", "resources/unsubscribe", "prompts/list", "prompts/get", "completion/complete",
    "logging/setLevel", "tasks/get", "tasks/list", "tasks/result", "server/discover", "roots/list",
    "sampling/createMessage", "elicitation/create",
]  # fmt: skip
NOTIFICATIONS = ["notifications/initialized", "notifications/progress", "notifications/roots/list_changed", "no/such"]
TOOLS = ["add", "echo", "fail", "absent"]
MIB = 1024 * 1024


def inputs(seed: int, count: int) -> Iterator[bytes]:
    """``count`` inputs, none with a line break inside."""
    for number in range(1, count + 1):
        rng = random.Random(f"{seed} {number}")
        (make,) = rng.choices(list(MAKERS), weights=list(MAKERS.values()))
        yield make(rng, number).replace(b"\n", b" ").replace(b"\r", b" ")


def text(rng: random.Random, longest: int = 12) -> str:
    alphabet = string.ascii_letters + string.digits + '/_-. "\\\x00\x1b\x7fé漢🦊\u2028\u202e$%{}[]'
    return "".join(rng.choice(alphabet) for _ in range(rng.randint(0, longest)))


def value(rng: random.Random, depth: int = 3) -> Any:
    """Any JSON value."""
    kind = rng.randrange(10 if depth else 7)
    if kind == 0:
        return None
    if kind == 1:
        return rng.random() < 0.5
    if kind == 2:
        return rng.choice([0, -1, 1, 2**31, 2**53 + 1, -(2**63), 10**30])
    if kind == 3:
        return rng.choice([0.5, -0.0, 1e308, 5e-324])
    if kind < 7:
        return text(rng)
    if kind == 7:
        return [value(rng, depth - 1) for _ in range(rng.randint(0, 4))]
    return {text(rng): value(rng, depth - 1) for _ in range(rng.randint(0, 4))}


def params(rng: random.Random, method: str) -> Any:
    """Parameters that the method takes, mostly."""
    if method == "tools/call":
        tool = rng.choice(TOOLS)
        arguments = {"a": rng.randint(0, 9), "b": rng.randint(0, 9)} if tool == "add" else {"value": value(rng)}
        return {"name": tool, "arguments": arguments}
    if method == "resources/read":
        return {"uri": rng.choice(["data://text", "data://absent", text(rng)])}
    if method == "prompts/get":
        return {"name": rng.choice(["greet", "absent"]), "arguments": {"name": text(rng)}}
    if method == "initialize":
        return {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": text(rng), "version": "1"}}
    return {} if rng.random() < 0.7 else value(rng)


def request(rng: random.Random, number: int) -> dict[str, Any]:
    method = rng.choice(["tools/call"] * 10 + METHODS)
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params(rng, method)}


def dumped(message: Any) -> bytes:
    return json.dumps(message, ensure_ascii=False).encode("utf-8", "surrogatepass")


def valid(rng: random.Random, number: int) -> bytes:
    return dumped(request(rng, number))


def unknown_method(rng: random.Random, number: int) -> bytes:
    return dumped({**request(rng, number), "method": text(rng, 30)})


def wrong_types(rng: random.Random, number: int) -> bytes:
    """A request in which one or two members have any value, or none."""
    message = request(rng, number)
    for _ in range(rng.randint(1, 2)):
        where = rng.choice([message, message["params"]] if isinstance(message.get("params"), dict) else [message])
        name = rng.choice([*where, "_meta", "extra"])
        if rng.random() < 0.2:
            where.pop(name, None)
        else:
            where[name] = value(rng)
    return dumped(message)


def mutated(rng: random.Random, number: int) -> bytes:
    """A valid request with some bytes changed, left out, repeated or put in."""
    line = bytearray(valid(rng, number))
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(line))
        what = rng.randrange(4)
        if what == 0:
            line[at] = rng.randrange(128)
        elif what == 1:
            del line[at : at + rng.randint(1, 8)]
        elif what == 2:
            line[at:at] = line[at : at + 16]
        else:
            line[at:at] = rng.randbytes(2).replace(b"\xff", b"")
        if not line:
            return b" "
    return bytes(line)


def invalid_utf8(rng: random.Random, number: int) -> bytes:
    line = valid(rng, number)
    at = rng.randrange(len(line))
    return line[:at] + rng.choice([b"\xff", b"\xc3(", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80"]) + line[at:]


def garbage(rng: random.Random, number: int) -> bytes:
    return rng.randbytes(rng.randint(0, 60))


def not_an_object(rng: random.Random, number: int) -> bytes:
    batch = [request(rng, number), {"jsonrpc": "2.0", "method": "notifications/initialized"}]
    return dumped(rng.choice([batch, [], value(rng), [value(rng)], "", None, number]))


def deep(rng: random.Random, number: int) -> bytes:
    depth = rng.choice([50, 150, 250, 1_000, 20_000])
    opening, closing = rng.choice([(b"[", b"]"), (b'{"a":', b"}")])
    nested = opening * depth + b"1" + closing * depth
    return b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"echo","arguments":{"value":%s}}}' % (
        number,
        nested,
    )


def oversized(rng: random.Random, number: int) -> bytes:
    big = rng.choice(["x", "é", '"']) * rng.choice([100_000, MIB // 2, MIB])
    return dumped(
        {**request(rng, number), "method": "tools/call", "params": {"name": "echo", "arguments": {"value": big}}}
    )


def odd_json(rng: random.Random, number: int) -> bytes:
    """What JSON parsers disagree on."""
    odd = rng.choice(
        [b"NaN", b"Infinity", b"-0", b"1e999", b"1" * 5_000, b'"\\ud800"', b'"\\u0000"', b"01", b"'a'", b"{,}", b'"\t"']
    )
    where = rng.choice([b'"value":%s', b'"value":{"a":%s}', b'"value":1,"value":%s'])
    line = b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"echo","arguments":{%s}}}'
    return line % (number, where % odd)


def odd_id(rng: random.Random, number: int) -> bytes:
    odd = rng.choice(
        [f"id-{number}", "", -number, None, 1.5, True, [number], {"id": number}, 10**30 + number, text(rng)]
    )
    return dumped({**request(rng, number), "id": odd})


def response(rng: random.Random, number: int) -> bytes:
    """An answer to what nobody asked."""
    body = {"result": value(rng)} if rng.random() < 0.5 else {"error": {"code": -1, "message": text(rng)}}
    return dumped({"jsonrpc": "2.0", "id": value(rng, 1), **body})


def notification(rng: random.Random, number: int) -> bytes:
    # Cancels name requests that are long answered or never made: one in flight would end as the race ends.
    method, body = rng.choice(NOTIFICATIONS), params(rng, "ping")
    if rng.random() < 0.2:
        method, body = "notifications/cancelled", {"requestId": rng.choice([-1, "none", None, 10**12])}
    return dumped({"jsonrpc": "2.0", "method": method, "params": body})


MAKERS: dict[Callable[[random.Random, int], bytes], float] = {
    valid: 25,
    unknown_method: 8,
    wrong_types: 25,
    mutated: 14,
    invalid_utf8: 3,
    garbage: 3,
    not_an_object: 3,
    deep: 1,
    oversized: 0.2,
    odd_json: 5,
    odd_id: 5,
    response: 4,
    notification: 4,
}
