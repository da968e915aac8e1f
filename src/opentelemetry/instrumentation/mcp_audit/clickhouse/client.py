# SPDX-License-Identifier: Apache-2.0
"""Queries by ClickHouse's HTTP interface, row by row, with the standard library.

What reading an audit trail asks of a client is little: one SELECT, parameters that never become SQL text, an answer that is
not held in memory. A client library would bring compression and data frames, and one more thing to install for `verify`.
"""

from __future__ import annotations

import http.client
import io
import json
import ssl
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import urlencode

from .address import Address

_SECONDS: Final = 60
_ROW_BYTES: Final = 64 * 1024 * 1024
_SAID_BYTES: Final = 2000


class ClickHouseError(Exception):
    """The server cannot be reached, or does not do what it was asked; the message says why."""


def rows(at: Address, query: str, **parameters: str | int) -> Iterator[list[Any] | ValueError]:
    """The rows of a SELECT, without FORMAT, each as its values; a ValueError in the place of one that is no UTF-8.

    ``{table:Identifier}`` in the query is the table of ``at``, ``{name:Type}`` a parameter. Raises ClickHouseError, also in the
    middle, never after an answer that only looks whole.
    """
    named = {f"param_{name}": _escaped(str(value)) for name, value in {**parameters, "table": at.table}.items()}
    target = "/?" + urlencode({"database": at.database, **named})
    headers = {"X-ClickHouse-User": at.user, "X-ClickHouse-Key": at.password, "User-Agent": "otel-mcp-audit"}
    connection = (
        http.client.HTTPSConnection(at.host, at.port, timeout=_SECONDS, context=ssl.create_default_context())
        if at.secure
        else http.client.HTTPConnection(at.host, at.port, timeout=_SECONDS)
    )
    try:
        connection.request("POST", target, f"{query} FORMAT JSONCompactEachRow".encode(), headers)
        answer = connection.getresponse()
        if answer.status != http.client.OK:
            raise ClickHouseError(_sentence(answer.read(_SAID_BYTES)) or f"HTTP {answer.status}")
        yield from _values(io.BufferedReader(answer, 1 << 18))
    except (OSError, http.client.HTTPException) as error:
        raise ClickHouseError(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__) from error
    finally:
        connection.close()


def _values(answer: io.BufferedReader) -> Iterator[list[Any] | ValueError]:
    while line := answer.readline(_ROW_BYTES):
        # What goes wrong behind the first row comes as text in the middle of a good answer.
        if not line.startswith(b"[") or not line.endswith(b"]\n"):
            raise ClickHouseError(_sentence(line) or "the answer breaks off")
        try:
            values = json.loads(line)
        except UnicodeDecodeError as error:
            yield error
            continue
        except ValueError:
            raise ClickHouseError(_sentence(line)) from None
        yield values


def _escaped(value: str) -> str:
    """A parameter's value as the interface reads it: with TSV's escapes."""
    return value.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\0", "\\0")


def _sentence(said: bytes) -> str:
    return " ".join(said[:_SAID_BYTES].decode(errors="replace").split())
