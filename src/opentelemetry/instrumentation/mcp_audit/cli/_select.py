# SPDX-License-Identifier: Apache-2.0
"""Which records a command is asked for: the filters that ``query``, ``tail`` and ``export`` share."""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from fnmatch import fnmatchcase
from typing import Any, Final

import click

from opentelemetry.instrumentation.mcp_audit.integrity.parse import StoredRecord
from opentelemetry.instrumentation.mcp_audit.record import attributes as a
from opentelemetry.instrumentation.mcp_audit.render.seed import user_of

_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


@dataclass(frozen=True, slots=True)
class Selection:
    """All filters that are set must fit. Texts are globs, case counts; times are nanoseconds since the epoch."""

    tool: str | None = None
    user: str | None = None
    tenant: str | None = None
    outcome: str | None = None
    detail: str | None = None
    events: tuple[str, ...] = ()
    since: int | None = None
    until: int | None = None
    trace: str | None = None
    lifecycle: bool = False

    def wants(self, record: StoredRecord) -> bool:
        """Whether the record is asked for. Without ``events`` and ``lifecycle``, opened and closed streams are not."""
        get = record.attributes.get
        if self.events:
            if not any(_fits(record.event_name, glob) or _fits(_short(record), glob) for glob in self.events):
                return False
        elif record.event_name == a.EVENT_LIFECYCLE and not self.lifecycle:
            return False
        return (
            (self.since is None or record.time >= self.since)
            and (self.until is None or record.time < self.until)
            and (self.trace is None or record.trace_id == self.trace)
            and (self.outcome is None or get(a.AUDIT_OUTCOME) == self.outcome)
            and (self.detail is None or _fits(get(a.OUTCOME_DETAIL), self.detail))
            and (self.tool is None or _fits(get(a.GEN_AI_TOOL_NAME), self.tool))
            and (self.tenant is None or _fits(get(a.TENANT_ID), self.tenant))
            and (self.user is None or _fits(user_of(record), self.user) or _fits(get(a.USER_EMAIL), self.user))
        )


def _fits(value: object, glob: str) -> bool:
    return isinstance(value, str) and fnmatchcase(value, glob)


def _short(record: StoredRecord) -> str:
    return record.event_name.removeprefix("mcp_audit.")


def parse_time(text: str, now: float) -> int:
    """``2026-11-24``, ``2026-11-24T05:30:00+01:00`` (UTC when no offset is given) or an age: ``90s``, ``30m``, ``1h``,
    ``2d``, ``1w`` before ``now`` (seconds since the epoch). Nanoseconds since the epoch; raises ValueError."""
    age = re.fullmatch(r"(\d{1,9})([smhdw])", text.strip())
    if age:
        return int((now - int(age[1]) * _UNITS[age[2]]) * 1_000_000_000)
    plain = re.sub(r"[zZ]$", "+00:00", text.strip())
    # Before Python 3.11 a fraction has three digits or six.
    moment = datetime.fromisoformat(re.sub(r"\.(\d{1,9})", lambda found: f".{found[1]:0<6.6}", plain))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    whole = moment.replace(microsecond=0)
    return int(whole.timestamp()) * 1_000_000_000 + moment.microsecond * 1000


def _time_option(ctx: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    if value is None:
        return None
    try:
        return parse_time(value, time.time())
    except (ValueError, OverflowError):
        raise click.BadParameter(
            f"{value!r} is no time: use 2026-11-24, 2026-11-24T05:30:00Z, or an age such as 30m, 1h, 2d"
        ) from None


def time_option(name: str, text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """An option that takes a time; its command gets nanoseconds since the epoch, or None."""
    return click.option(name, metavar="TIME", callback=_time_option, help=text)


_OPTIONS: Final = (
    click.option("--tool", metavar="GLOB", help="Name of the tool."),
    click.option("--user", metavar="GLOB", help="User id or e-mail address."),
    click.option("--tenant", metavar="GLOB", help="Tenant id."),
    click.option("--outcome", type=click.Choice(["success", "failure", "unknown"]), help="How the call ended."),
    click.option("--detail", metavar="GLOB", help="How exactly: ok, tool_error, invalid_arguments, denied, …"),
    click.option(
        "--event", "events", metavar="GLOB", multiple=True, help="tool_call, resource_read, gap, lifecycle, …"
    ),
    time_option("--since", "Received at or after: ISO 8601, or 30m, 1h, 2d."),
    time_option("--until", "Received before: ISO 8601, or 30m, 1h, 2d."),
    click.option("--trace", metavar="ID", help="Trace id, 32 hex characters."),
    click.option("--all", "lifecycle", is_flag=True, help="Also the records of streams that were opened and closed."),
)


def selection_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the filter options; it gets them as one :class:`Selection` named ``selection``."""

    @functools.wraps(function)
    def with_selection(**given: Any) -> Any:
        names = Selection.__dataclass_fields__
        chosen = {name: given.pop(name) for name in list(given) if name in names}
        if chosen["trace"] is not None:
            chosen["trace"] = chosen["trace"].lower()
        return function(selection=Selection(**chosen), **given)

    decorated: Callable[..., Any] = with_selection
    for option in _reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated


def _reversed(options: Sequence[Callable[..., Any]]) -> Sequence[Callable[..., Any]]:
    # Decorators are applied from the inside out; help shows them in the order in which they were written.
    return options[::-1]
