# SPDX-License-Identifier: Apache-2.0
"""With fsync ``always`` an answer is released when its record is on the disk, or loudly at the deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import stack

from opentelemetry.instrumentation.mcp_audit.auditor import Auditor
from opentelemetry.instrumentation.mcp_audit.instrumentor import INSTRUMENTATION, McpAuditInstrumentor
from opentelemetry.instrumentation.mcp_audit.journal import platform
from opentelemetry.instrumentation.mcp_audit.journal.journal import Journal

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def audited(tmp_path: Path) -> Iterator[None]:
    McpAuditInstrumentor().instrument(
        directory=str(tmp_path),
        keyring=str(tmp_path / "keyring.json"),
        fsync="always",
        deadline_ms=300,
        otel_logs="off",
    )
    yield
    McpAuditInstrumentor().uninstrument()


async def test_an_answer_means_that_its_record_is_on_the_disk(audited: None, monkeypatch: pytest.MonkeyPatch) -> None:
    real = platform.sync_data

    def slow(descriptor: int) -> None:
        time.sleep(0.02)
        real(descriptor)

    async with stack.in_memory(stack.server()) as client:
        await client.tool("add", {"a": 1, "b": 2})
        monkeypatch.setattr(platform, "sync_data", slow)
        for number in range(5):
            await client.tool("add", {"a": number, "b": 2})
            segment = _segment()
            assert segment.synced == segment.count
        await client.tool("crash", {})
        segment = _segment()
        assert segment.synced == segment.count, "an error is an answer too"


async def test_a_disk_that_hangs_holds_no_answer_longer_than_the_deadline(
    audited: None, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    real, hang = platform.sync_data, threading.Event()

    def hanging(descriptor: int) -> None:
        hang.wait(20)
        real(descriptor)

    async with stack.in_memory(stack.server()) as client:
        await client.tool("add", {"a": 1, "b": 2})
        monkeypatch.setattr(platform, "sync_data", hanging)
        began = time.monotonic()
        await client.tool("add", {"a": 2, "b": 2})
        assert 0.3 <= time.monotonic() - began < 5
        hang.set()
    assert "an answer goes out before its record is known to be on the disk" in capfd.readouterr().err


def _segment() -> Any:
    auditor = INSTRUMENTATION.auditor()
    assert isinstance(auditor, Auditor)
    journal = auditor.parts.journal
    assert isinstance(journal, Journal)
    writing = journal._keeper.current
    assert writing is not None
    return writing.segment
