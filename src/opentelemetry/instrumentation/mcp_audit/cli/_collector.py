# SPDX-License-Identifier: Apache-2.0
"""What a Collector says of itself, in words: did it refuse, drop or hold back records, and what to do then.

Its own metrics (Prometheus text, by default on http://127.0.0.1:8888/metrics) are the only place where it tells that an
exporter gave records up; its log says so once.
"""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from ._checks import Check
from ._words import some

_TIMEOUT: Final = 5
_MOST: Final = 8 * 1024 * 1024
# Units and `_total` stand there or not, as its telemetry is configured.
_SAMPLE: Final = re.compile(
    r"otelcol_(\w+?)(?:__(?:records|batches|requests)_)?(?:_seconds)?(?:_total)?(?:\{(.*)\})? (\S+)"
)
_LABEL: Final = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_FULL: Final = 0.8
_REPLAY: Final = (
    "the journal and the archive still have them: otel-mcp-audit reconcile says which, replay sends them again"
)


class Sample(NamedTuple):
    """One number of the Collector: its name without prefix and suffix, what it is about, its value."""

    name: str
    labels: Mapping[str, str]
    value: float


def collector(url: str) -> list[Check]:
    """What is to be said of the Collector whose metrics are at ``url`` (an address without a path means ``/metrics``)."""
    address = url if "://" in url else f"http://{url}"
    if not re.search(r"://[^/]+/.", address):
        address = address.rstrip("/") + "/metrics"
    try:
        with urllib.request.urlopen(address, timeout=_TIMEOUT) as answer:
            text = answer.read(_MOST).decode("utf-8", "replace")
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return [Check("collector", "red", f"{address}: its metrics cannot be read: {reason}")]
    found = list(samples(text))
    if not any(sample.name == "process_uptime" for sample in found):
        return [
            Check("collector", "red", f"{address} does not speak as a Collector does: give the address of its metrics")
        ]
    return list(said(found))


def samples(text: str) -> Iterator[Sample]:
    """The Collector's own numbers in a Prometheus text."""
    for line in text.splitlines():
        match = _SAMPLE.fullmatch(line)
        if match is None:
            continue
        try:
            value = float(match[3])
        except ValueError:
            continue
        yield Sample(match[1], dict(_LABEL.findall(match[2] or "")), value)


def said(found: list[Sample]) -> Iterator[Check]:
    """In words, worst first: dropped, not taken into a queue, queues that fill up, refused (and sent again), taken."""
    for sample in _above_zero(found, "exporter_send_failed_log_records"):
        yield Check(
            "collector",
            "red",
            f"{_who(sample)} gave up {some(int(sample.value), 'record')} since the Collector started: "
            f"they did not reach it. {_REPLAY}",
        )
    for sample in _above_zero(found, "exporter_enqueue_failed_log_records"):
        yield Check(
            "collector",
            "yellow",
            f"the queue of {_who(sample)} could not take {some(int(sample.value), 'record')} (full, or its disk is): "
            "who sent them was told so and sends them again; other sinks may have them twice",
        )
    sizes = {_key(sample): sample.value for sample in found if sample.name == "exporter_queue_size"}
    for sample in found:
        size = sizes.get(_key(sample), 0.0)
        if sample.name == "exporter_queue_capacity" and sample.value > 0 and size > 0:
            full = size / sample.value
            yield Check(
                "collector",
                "yellow" if full >= _FULL else "green",
                f"the queue of {_who(sample)} is {full:.0%} full ({size:.0f} of {sample.value:.0f})",
            )
    for sample in _above_zero(found, "receiver_refused_log_records"):
        yield Check(
            "collector",
            "yellow",
            f"it refused {some(int(sample.value), 'record')} at {sample.labels.get('receiver', '?')}: a sink or a disk "
            "could not take them, and who sent them sends them again",
        )
    taken = sum(sample.value for sample in found if sample.name == "receiver_accepted_log_records")
    sent = sum(sample.value for sample in found if sample.name == "exporter_sent_log_records")
    yield Check("collector", "green", f"it took {taken:.0f} records since it started; its sinks were given {sent:.0f}")


def _above_zero(found: list[Sample], name: str) -> list[Sample]:
    return [sample for sample in found if sample.name == name and sample.value > 0]


def _key(sample: Sample) -> tuple[str | None, str | None]:
    return sample.labels.get("exporter"), sample.labels.get("data_type")


def _who(sample: Sample) -> str:
    return f"sink {sample.labels.get('exporter', '?')}"
