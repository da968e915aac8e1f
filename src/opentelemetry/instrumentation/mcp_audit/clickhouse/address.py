# SPDX-License-Identifier: Apache-2.0
"""Where a ClickHouse is: ``clickhouse://USER:PASSWORD@HOST:PORT/DATABASE?secure=true&table=NAME``.

The port is that of the HTTP interface. User and password may be left to ``CLICKHOUSE_USER`` and ``CLICKHOUSE_PASSWORD``, as
ClickHouse's own client has them: a command line is for all to see.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl, quote, unquote, urlsplit

SCHEMES: Final = ("clickhouse://", "clickhouses://")
TABLE: Final = "mcp_audit"
_FORM: Final = "clickhouse://USER:PASSWORD@HOST:PORT/DATABASE?secure=true&table=NAME"
_TRUTH: Final = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True, slots=True)
class Address:
    """One table of one server. ``password`` is in no representation of it."""

    host: str
    port: int
    secure: bool
    user: str
    password: str = field(repr=False)
    database: str
    table: str

    @property
    def name(self) -> str:
        """How it is called in messages: without the password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        scheme = "clickhouses" if self.secure else "clickhouse"
        return f"{scheme}://{quote(self.user)}@{host}:{self.port}/{quote(self.database)}"


def address(url: str, environ: Mapping[str, str]) -> Address:
    """The address that a URL means. Raises ValueError that says what is wrong, without the password."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(f"no URL of the form {_FORM}") from None
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = options.keys() - {"secure", "table"}
    if unknown:
        raise ValueError(f"{', '.join(sorted(unknown))}: not known; the form is {_FORM}")
    if parts.hostname is None or parts.fragment:
        raise ValueError(f"no URL of the form {_FORM}")
    secure = _TRUTH.get(options.get("secure", "true" if parts.scheme == "clickhouses" else "false").lower())
    if secure is None or (parts.scheme == "clickhouses" and not secure):
        raise ValueError("secure is true or false, and clickhouses:// is secure")
    return Address(
        host=parts.hostname,
        port=port or (8443 if secure else 8123),
        secure=secure,
        user=unquote(parts.username or "") or environ.get("CLICKHOUSE_USER") or "default",
        password=environ.get("CLICKHOUSE_PASSWORD", "") if parts.password is None else unquote(parts.password),
        database=unquote(parts.path.strip("/")) or "default",
        table=options.get("table") or TABLE,
    )
