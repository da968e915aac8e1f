# SPDX-License-Identifier: Apache-2.0
"""What the journal answers: a ticket for a record that is in it, an error for one that is not.

A ticket can be waited for until its record is on the disk: on asyncio, on trio, and on plain threads.
"""

from __future__ import annotations

import asyncio
import math
import sys
import threading
from functools import partial
from typing import Any, NamedTuple

from .waiting import DEADLINE, Commits, Outcome, run_here


class JournalError(Exception):
    """A record could not be journaled; it is counted, and the message says why."""

    counted = True
    """For callers who know no type of the journal's: whether the loss is counted and said already."""
    kept = False
    """Whether the record will be written all the same."""


class Deferred(JournalError):
    """Appended by a finaliser or signal handler inside an append of its own thread, which writes it; no ticket yet.

    Not lost. Should that write fail, it is counted like any other.
    """

    kept = True


class NotDurable(JournalError):
    """A record is written but not known to be on the disk. ``reason``: ``deadline``, ``fork``, or what the sync said."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"not known to be on the disk: {reason}")
        self.reason = reason


class Ticket(NamedTuple):
    """The receipt of an appended record: where it stands in which stream. ``line`` is what was written."""

    stream_id: str
    number: int
    previous_hash: str | None
    hash: str
    line: bytes
    commits: Commits

    async def durable(self, deadline: float | None = None) -> None:
        """Return when the record is on the disk; it is committed at once, whatever the fsync setting.

        Waits at most ``deadline`` seconds. Raises :class:`NotDurable`; the record may be on the disk nevertheless, or
        come there later. Cancelling the wait cancels nothing of the commit. RuntimeError outside asyncio and trio.
        """
        outcome = self.commits.outcome(self.stream_id, self.number)
        if outcome is None:
            trio = _trio_of_this_task()
            wait = _on_asyncio(self, deadline) if trio is None else _on_trio(trio, self, deadline)
            outcome = await wait
        _raise_unless_durable(outcome)

    def wait(self, timeout: float | None = None) -> None:
        """:meth:`durable` for threads; ``timeout`` in seconds. RuntimeError on a thread that runs an event loop."""
        if _runs_a_loop():
            raise RuntimeError(
                "wait() would block the event loop that runs on this thread; use `await ticket.durable()`"
            )
        outcome = self.commits.outcome(self.stream_id, self.number)
        if outcome is None:
            outcome = _on_thread(self, timeout)
        _raise_unless_durable(outcome)


def _raise_unless_durable(outcome: Outcome) -> None:
    if outcome is not True:
        raise NotDurable(outcome if isinstance(outcome, str) else DEADLINE)


def _on_thread(ticket: Ticket, timeout: float | None) -> Outcome:
    commits = ticket.commits
    # A lock and not an Event: it is released once, by one wake-up, and that takes no lock of its own.
    gate = threading.Lock()
    gate.acquire()
    waiter = commits.subscribe(ticket.stream_id, ticket.number, run_here, gate.release)
    if waiter is None:
        return commits.outcome(ticket.stream_id, ticket.number)
    try:
        refused = commits.ask()
        if refused is None:
            gate.acquire(timeout=-1 if timeout is None else min(max(timeout, 0), threading.TIMEOUT_MAX))
    finally:
        commits.cancel(waiter)
    return commits.outcome(ticket.stream_id, ticket.number) or refused


async def _on_asyncio(ticket: Ticket, deadline: float | None) -> Outcome:
    commits = ticket.commits
    loop = asyncio.get_running_loop()
    future: asyncio.Future[None] = loop.create_future()
    wake = partial(_finish, future)
    post = loop.call_soon_threadsafe
    waiter = commits.subscribe(ticket.stream_id, ticket.number, post, wake)
    if waiter is None:
        return commits.outcome(ticket.stream_id, ticket.number)
    timer = None if deadline is None else loop.call_later(max(deadline, 0), wake)
    try:
        commits.ask_soon(post)
        await future
    finally:
        commits.cancel(waiter)
        if timer is not None:
            timer.cancel()
    return commits.outcome(ticket.stream_id, ticket.number) or waiter.refused


def _finish(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def _on_trio(trio: Any, ticket: Ticket, deadline: float | None) -> Outcome:
    commits = ticket.commits
    event = trio.Event()
    post = trio.lowlevel.current_trio_token().run_sync_soon
    waiter = commits.subscribe(ticket.stream_id, ticket.number, post, event.set)
    if waiter is None:
        return commits.outcome(ticket.stream_id, ticket.number)
    try:
        commits.ask_soon(post)
        with trio.move_on_after(math.inf if deadline is None else max(deadline, 0)):
            await event.wait()
    finally:
        commits.cancel(waiter)
    return commits.outcome(ticket.stream_id, ticket.number) or waiter.refused


def _trio_of_this_task() -> Any:
    """The trio module when a task of its is running here, else None. Asked before asyncio: trio can be its guest."""
    trio = sys.modules.get("trio")
    if trio is not None:
        try:
            trio.lowlevel.current_task()
        except (AttributeError, RuntimeError):
            # No task of trio's, or trio is only half imported, by another thread.
            return None
    return trio


def _runs_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _trio_of_this_task() is not None
    return True
