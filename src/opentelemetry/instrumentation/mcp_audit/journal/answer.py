# SPDX-License-Identifier: Apache-2.0
"""The calls that were in flight when their process died: each brought to its one outcome record. A part of adoption."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from opentelemetry.instrumentation.mcp_audit.record.attributes import AUDIT_RECORD_ID
from opentelemetry.instrumentation.mcp_audit.record.record import AuditRecord

from . import torn
from .abandoned import abandoned
from .disk import Disk
from .open_call import Slot
from .outcomes import recorded
from .remains import Files, Found, Process, from_stream_on, open_to_read
from .slots import FREE, SLOT_BYTES, Header, header_slot


class Answering:
    """Answers for calls in flight. ``boot``: the id of this boot; the others as of :func:`.adopt.adopt`."""

    def __init__(
        self,
        disk: Disk,
        append: Callable[[AuditRecord], object],
        durable: Callable[[], None],
        own: Callable[[], str],
        boot: str,
    ) -> None:
        self._disk = disk
        self._append = append
        self._durable = durable
        self._own = own
        self._boot = boot

    def answer(
        self, descriptor: int, header: Header, slots: list[Slot], files: Files, process: Process | None
    ) -> tuple[int, int]:
        """Bring every call in flight to its one outcome record. How many were written now, and how many in all."""
        left = dict(sorted(_by_id(slots).items(), key=lambda item: (item[1][0].call.received, item[0])))
        told = header.abandoned or 0 if header.adopter is not None else 0
        if left:
            mine = files.of(process) if process is not None else {}
            done = self._recorded(from_stream_on(mine, {slot.stream for slot in slots}), set(left))
            if header.adopter is not None:
                # The adopter before may have written some of them, and be dead by now as well.
                former = files.stream(header.adopter)
                theirs = {} if former is None else files.of(former.process)
                done |= self._recorded(from_stream_on(theirs, {header.adopter}), set(left) - done)
            self._clear(descriptor, [slot for record_id in done for slot in left.pop(record_id)])
        if not left:
            return 0, told
        total = told or len(left)
        own = self._own()
        if not own:
            raise OSError("there is no stream to write to")
        named = header._replace(adopter=own, abandoned=total)
        self._disk.write_at(descriptor, header_slot(named), 0)
        self._disk.sync(descriptor)
        for found in left.values():
            self._append(abandoned(found[0].call))
        self._durable()
        self._clear(descriptor, [slot for found in left.values() for slot in found])
        return len(left), total

    def _recorded(self, segments: list[Found], wanted: set[str]) -> set[str]:
        """Those of the record ids that a segment holds in its whole part, which is then on the disk."""
        done: set[str] = set()
        for found in sorted(segments, reverse=True):
            if len(done) == len(wanted):
                break
            descriptor = open_to_read(found.path)
            try:
                whole = torn.whole_part(descriptor, self._same_boot(found.process.boot))
                here = recorded(descriptor, whole.end, wanted - done)
                if here:
                    self._disk.sync(descriptor)
            finally:
                os.close(descriptor)
            done |= here
        return done

    def _clear(self, descriptor: int, slots: Iterable[Slot]) -> None:
        cleared = False
        for slot in slots:
            self._disk.write_at(descriptor, FREE, slot.number * SLOT_BYTES)
            cleared = True
        if cleared:
            self._disk.sync(descriptor)

    def _same_boot(self, boot: str) -> bool:
        return boot != "" and boot == self._boot


def _by_id(slots: list[Slot]) -> dict[str, list[Slot]]:
    """Slots by record id: one call may stand in two, when clearing the first one failed."""
    found: dict[str, list[Slot]] = {}
    for slot in slots:
        found.setdefault(str(slot.call.attributes[AUDIT_RECORD_ID]), []).append(slot)
    return found
