# SPDX-License-Identifier: Apache-2.0
"""The ledger: one chained stream for a whole directory, in which every process says which segments it opened and ended.

By it a removed, inserted or shortened segment shows, and deletion by the rules differs from theft. It is written rarely
(a segment's beginning and end), under a lock between processes, and every entry is on the disk before anything relies on
it. An entry costs the same whether ten stand before it or a million: only the last line is read.
"""

from __future__ import annotations

import errno
import os
import stat
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from opentelemetry.instrumentation.mcp_audit.integrity.canonical import resource_form, sha256_hex
from opentelemetry.instrumentation.mcp_audit.integrity.parse import StoredRecord, parse_line
from opentelemetry.instrumentation.mcp_audit.integrity.values import NotARecord
from opentelemetry.instrumentation.mcp_audit.record.attributes import (
    AUDIT_RECORD_ID,
    BOOT_ID,
    EVENT_LIFECYCLE,
    LIFECYCLE_KIND,
    RECORD_HASH,
    STREAM_COUNT,
    STREAM_FILE,
    STREAM_HEAD,
    STREAM_ID,
    STREAM_REASON,
    AttributeValue,
)
from opentelemetry.instrumentation.mcp_audit.record.encode import MAX_LINE_BYTES, Envelope, encode, envelope, seal
from opentelemetry.instrumentation.mcp_audit.record.record import AuditRecord

from . import events, platform
from .disk import Disk
from .tail import backwards, cut, line_before

LEDGER: Final = "ledger.jsonl"
LOCK: Final = "ledger.lock"
_BEFORE_RECORD: Final = b'"logRecords":['
_POLL_SECONDS: Final = (0.0005, 0.02)


class LedgerError(OSError):
    """The ledger cannot be continued: locked for too long, or what stands at its end is no record of ours."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What the ledger says of one segment. ``time`` is nanoseconds since the epoch."""

    kind: str
    stream_id: str
    file: str
    count: int | None
    head: str | None
    reason: str | None
    boot_id: str | None
    time: int


class _End(NamedTuple):
    """Where the next entry goes: the file's size, the last record's number and hash, the bytes around its records."""

    size: int
    number: int
    head: str | None
    envelope: Envelope
    stream_id: str
    last_id: str | None


class Ledger:
    """The ledger of one directory, as one process uses it. Safe to use from any thread and process."""

    def __init__(
        self, directory: Path, disk: Disk, scope_name: str, scope_version: str, say: Callable[[str], None]
    ) -> None:
        self.path = directory / LEDGER
        self._directory = directory
        self._disk = disk
        self._scope = (scope_name, scope_version)
        self._say = say

    def append(self, *records: AuditRecord, timeout: float = 5.0) -> None:
        """Write the entries and return when they are on the disk. Raises OSError; then one of them, and all behind it, does
        not count.

        The caller may try the same records again: one that did get into the file is not written twice.
        """
        lock = self._take_lock(timeout)
        try:
            descriptor = self._open()
            try:
                self._append(descriptor, records)
            finally:
                self._disk.close(descriptor)
        finally:
            # Not by closing it alone: a child that was forked just now has a copy, and keeps it.
            platform.unlock(lock)
            self._disk.close(lock)

    def backwards(self) -> Iterator[Entry]:
        """The entries, newest first, until a line that is none. Takes no lock; nothing when there is no ledger.

        A torn last line is passed over: it was never an entry, or is being written just now. Raises OSError, also for
        what is no regular file.
        """
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        try:
            descriptor = os.open(self.path, flags | getattr(os, "O_NONBLOCK", 0))
        except FileNotFoundError:
            return
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise LedgerError(f"{self.path} is not a regular file")
            found = backwards(descriptor, os.fstat(descriptor).st_size)
            for place, line in enumerate(found):
                if place == 0 and not line.endswith(b"\n") and len(line) <= MAX_LINE_BYTES:
                    continue
                record = _parsed(line)
                if record is None:
                    return
                entry = _entry(record)
                if entry is not None:
                    yield entry
        finally:
            os.close(descriptor)

    # --- with the lock held ----------------------------------------------------------------------------------------

    def _append(self, descriptor: int, records: tuple[AuditRecord, ...]) -> None:
        # What a process that was killed left unsynced must not be lost behind an entry of ours that is not.
        self._disk.sync(descriptor)
        end = self._end(descriptor)
        ids = [record.attributes.get(AUDIT_RECORD_ID) for record in records]
        # They were written in their order, so the last one in the file means that all before it are.
        todo = list(records[ids.index(end.last_id) + 1 :] if end.last_id in ids else records)
        if end.number == 0:
            todo.insert(0, self._begin(end.stream_id))
        size, number, head = end.size, end.number, end.head
        for record in todo:
            number += 1
            sealed = seal(encode(record), end.stream_id, number, head)
            head = sealed.hash
            # One by one: of two that are not synced a power cut may keep the second and leave a hole in the first.
            size = self._write(descriptor, size, end.envelope.line(sealed.text))

    def _write(self, descriptor: int, size: int, line: bytes) -> int:
        """Write one line behind ``size`` bytes, and sync it. The size after that."""
        try:
            if (written := self._disk.write(descriptor, line)) != len(line):
                raise OSError(errno.ENOSPC, f"only {written} of {len(line)} bytes could be written (is the disk full?)")
            self._disk.sync(descriptor)
            if size == 0:
                self._disk.sync_directory(self._directory)
        except OSError:
            # If this fails too, the next append finds the torn line, or the whole one, and goes on from there.
            self._disk.truncate(descriptor, size)
            raise
        return size + len(line)

    def _end(self, descriptor: int) -> _End:
        size = os.fstat(descriptor).st_size
        if size == 0:
            return self._new()
        last, start = line_before(descriptor, size)
        record = _parsed(last)
        if record is None and len(last) <= MAX_LINE_BYTES:
            before, at = line_before(descriptor, start) if start else (b"", 0)
            record = _parsed(before)
            # One unreadable line is what a crash leaves; two are no work of ours, and nothing is touched.
            if start == 0 or record is not None:
                size = self._set_aside(descriptor, start, size)
                if size == 0:
                    return self._new()
                last, start = before, at
        if record is None:
            raise LedgerError(f"{self.path} holds no audit record at byte {start}; it is left as it is: move it away")
        number, head = record.number, record.attributes.get(RECORD_HASH)
        at = last.find(_BEFORE_RECORD) + len(_BEFORE_RECORD)
        if number is None or not isinstance(head, str) or at < len(_BEFORE_RECORD) or record.stream_id is None:
            raise LedgerError(f"{self.path}: the record at byte {start} has no number or hash; it is left as it is")
        return _End(size, number, head, Envelope(last[:at].decode()), record.stream_id, record.record_id)

    def _new(self) -> _End:
        stream_id = str(uuid.uuid4())
        return _End(0, 0, None, envelope({STREAM_ID: stream_id}, *self._scope), stream_id, None)

    def _begin(self, stream_id: str) -> AuditRecord:
        resource: dict[str, AttributeValue] = {STREAM_ID: stream_id}
        return events.ledger_begun(LEDGER, sha256_hex(resource_form(resource.items(), *self._scope)))

    def _set_aside(self, descriptor: int, start: int, size: int) -> int:
        """Move a last line that is no record out of the way; the bytes are kept."""
        kept = cut(self._disk, descriptor, start, size, self._directory, LEDGER)
        self._say(f"{LEDGER}: {size - start} bytes behind its last whole record set aside in {kept}")
        return start

    def _open(self) -> int:
        try:
            return self._disk.open(self.path, append=True)
        except FileNotFoundError:
            return self._disk.create(self.path, append=True)

    def _take_lock(self, timeout: float) -> int:
        path = self._directory / LOCK
        try:
            descriptor = self._disk.open(path, append=False)
        except FileNotFoundError:
            try:
                descriptor = self._disk.create(path, append=False)
            except FileExistsError:
                descriptor = self._disk.open(path, append=False)
        deadline, pause = time.monotonic() + timeout, _POLL_SECONDS[0]
        try:
            # flock(2) knows no time limit, and a process that hangs with the lock must not hang us.
            while not self._disk.lock(descriptor):
                if time.monotonic() >= deadline:
                    raise LedgerError(f"{path} was held by another process for {timeout:g} s")
                time.sleep(pause)
                pause = min(2 * pause, _POLL_SECONDS[1])
        except BaseException:
            self._disk.close(descriptor)
            raise
        return descriptor


def _parsed(line: bytes) -> StoredRecord | None:
    """The one record of a whole line; None for anything else."""
    if not line.endswith(b"\n") or len(line) > MAX_LINE_BYTES:
        return None
    try:
        found = parse_line(line[:-1])
    except NotARecord:
        return None
    return found[0] if len(found) == 1 and not found[0].faults else None


def _entry(record: StoredRecord) -> Entry | None:
    """The record as an entry; None for the ledger's own first record."""
    attributes = record.attributes
    kind, stream_id, file = (attributes.get(name) for name in (LIFECYCLE_KIND, STREAM_ID, STREAM_FILE))
    if record.event_name != EVENT_LIFECYCLE or not (
        isinstance(kind, str) and isinstance(stream_id, str) and isinstance(file, str)
    ):
        return None
    count, head, reason, boot = (attributes.get(name) for name in (STREAM_COUNT, STREAM_HEAD, STREAM_REASON, BOOT_ID))
    return Entry(
        kind,
        stream_id,
        file,
        count if isinstance(count, int) else None,
        head if isinstance(head, str) else None,
        reason if isinstance(reason, str) else None,
        boot if isinstance(boot, str) else None,
        record.time,
    )
