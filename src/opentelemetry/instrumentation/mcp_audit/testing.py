# SPDX-License-Identifier: Apache-2.0
"""For users' tests: see what a server's calls leave in the trail, without a journal on the disk.

.. code:: python

    from opentelemetry.instrumentation.mcp_audit.testing import capture_audit


    async def test_search_is_audited():
        with capture_audit() as audit:
            async with Client(server) as client:
                await client.call_tool("datahub_search", {"query": "customers"})
        (call,) = audit.tool_calls("datahub_search")
        assert call.attributes["audit.outcome"] == "success"
        assert call.arguments == {"query": "customers"}
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any, Final, NamedTuple

from . import settings as settings_module
from .assembly import SCOPE_NAME, Extras, assemble
from .auditor import Auditor
from .integrity.keyring import HashKey, key_id
from .notices import Notices
from .record.attributes import EVENT_TOOL_CALL, GEN_AI_TOOL_NAME, OUTCOME_EVENTS, STREAM_ID, AttributeValue
from .record.encode import encode, envelope, seal
from .record.record import Actor, AuditRecord, Invocation
from .sinks.protocol import Sink
from .version import __version__

_TEST_KEY: Final = b"a key for tests, known to all...."


class Captured(NamedTuple):
    """One record as it would stand in the journal: ``attributes`` by name, the body's text, the whole OTLP line."""

    event: str
    attributes: dict[str, AttributeValue]
    body: str | None
    line: str

    @property
    def arguments(self) -> Any:
        """The recorded arguments (redacted, bounded), None at levels without them."""
        return None if self.body is None else json.loads(self.body).get("arguments")

    @property
    def result(self) -> Any:
        """The recorded result, None below level ``request_response``."""
        return None if self.body is None else json.loads(self.body).get("result")


class Receipt(NamedTuple):
    """The in-memory journal's answer to ``append``."""

    stream_id: str
    number: int
    previous_hash: str | None
    hash: str
    line: bytes

    async def durable(self, deadline: float | None = None) -> None:
        """Memory is all the disk there is."""


class AuditCapture:
    """What was recorded so far, in order. A journal in memory: numbers, chain and lines are made as on the disk."""

    def __init__(self) -> None:
        self.records: list[Captured] = []
        self._stream_id = "00000000-0000-4000-8000-000000000000"
        self._envelope = envelope({STREAM_ID: self._stream_id}, SCOPE_NAME, __version__)
        self._head: str | None = None
        self._lock = threading.Lock()

    def outcomes(self) -> list[Captured]:
        """The outcome records: one for each request that was audited."""
        return [record for record in self.records if record.event in OUTCOME_EVENTS]

    def tool_calls(self, name: str = "*") -> list[Captured]:
        """The records of tool calls whose tool name matches the glob ``name``."""
        return [
            record
            for record in self.records
            if record.event == EVENT_TOOL_CALL and fnmatchcase(str(record.attributes.get(GEN_AI_TOOL_NAME, "")), name)
        ]

    def open(self) -> None:
        """Nothing to open; part of the protocol of a journal."""

    def begin(
        self, event: str, received: int, attributes: dict[str, AttributeValue], trace_id: str, span_id: str
    ) -> None:
        """Nothing outlives a test's process: no mark is needed."""

    def append(self, record: AuditRecord, mark: int | None = None) -> Receipt:
        """Number, chain and keep the record."""
        encoded = encode(record)
        with self._lock:
            number, previous = len(self.records) + 1, self._head
            sealed = seal(encoded, self._stream_id, number, previous)
            self._head = sealed.hash
            line = self._envelope.line(sealed.text)
            self.records.append(Captured(record.event_name, dict(record.attributes), record.body, line.decode()))
        return Receipt(self._stream_id, number, previous, sealed.hash, line)


@contextmanager
def capture_audit(
    *,
    sinks: Sequence[Sink] = (),
    identify: Callable[[Invocation], Actor | None] | None = None,
    hooks: bool = True,
    **options: Any,
) -> Iterator[AuditCapture]:
    """Audit every MCP request made inside the block into the yielded :class:`AuditCapture`.

    ``options`` are fields of :class:`~.settings.Settings`, such as ``level="request_response"``; the environment is not
    read. Hooks that are not installed yet are installed for the block, unless ``hooks`` is false: then it sees what an
    ``AuditMiddleware`` brings. Raises :class:`~.settings.SettingsError` for a wrong option.
    """
    from .instrumentor import INSTRUMENTATION

    loaded = settings_module.load({}, options)
    parts = assemble(
        loaded,
        Extras(sinks=sinks, identify=identify),
        Notices(),
        {"OTEL_SERVICE_NAME": "test"},
        key=HashKey(key_id(_TEST_KEY), _TEST_KEY),
    ).auditor.parts
    capture = AuditCapture()
    installed_here = hooks and not INSTRUMENTATION.installed
    if installed_here:
        INSTRUMENTATION.install(
            {**os.environ, "OTEL_MCP_AUDIT_ENABLED": "true"}, {"own_span": loaded.own_span, "client": loaded.client}
        )
    auditor = Auditor(parts.with_journal(capture))
    outer = INSTRUMENTATION.substitute(auditor)
    try:
        yield capture
    finally:
        INSTRUMENTATION.substitute(outer)
        auditor.end()
        if installed_here:
            INSTRUMENTATION.uninstall()
