# SPDX-License-Identifier: Apache-2.0
"""What came in one OTLP request: records, each as one line of OTLP/JSON and as typed values, and what is none.

Pure. Both encodings of OTLP become the same: the line is what verification reads, in the spelling of the journal. A record
that cannot be one of the trail is set apart with its reason; the good ones beside it are kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal

from opentelemetry.instrumentation.mcp_audit.integrity.values import NotARecord, attributes_of

from . import of_json
from .compact import compact
from .parts import MAX_ATTRIBUTES, MAX_REJECTED_CHARACTERS, Received, Rejected, Scoped, Undecodable, rejected

__all__ = [
    "CHUNK",
    "MAX_ATTRIBUTES",
    "MAX_LINE_CHARACTERS",
    "MAX_REJECTED_CHARACTERS",
    "Batch",
    "Encoding",
    "Received",
    "Rejected",
    "Undecodable",
    "decode",
]

Encoding = Literal["json", "protobuf"]

MAX_LINE_CHARACTERS: Final = 1024 * 1024
CHUNK: Final = 500
# So many characters of lines are worked on at once: their rows are some times as large.
_CHUNK_CHARACTERS: Final = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Batch:
    """The body of one request, decoded again for each place that keeps it: a large one as trees would fill the memory."""

    body: bytes | bytearray
    encoding: Encoding

    def chunks(self, size: int = CHUNK) -> Iterator[tuple[list[Received], list[Rejected]]]:
        """The records and what is none, so many at a time. Raises :class:`Undecodable`, at the first step if ever."""
        good: list[Received] = []
        bad: list[Rejected] = []
        characters = 0
        for item in decode(self.body, self.encoding):
            if isinstance(item, Received):
                good.append(item)
            else:
                bad.append(item)
            characters += len(item.line)
            if len(good) + len(bad) >= size or characters > _CHUNK_CHARACTERS:
                yield good, bad
                good, bad, characters = [], [], 0
        if good or bad:
            yield good, bad


def decode(body: bytes | bytearray, encoding: Encoding) -> Iterator[Received | Rejected]:
    """What stands in a request's body. Raises :class:`Undecodable`, and nothing else, before the first, for any bytes."""
    for item in _scopes(body, encoding):
        if isinstance(item, Rejected):
            yield item
        else:
            yield from _records(item)


def _scopes(body: bytes | bytearray, encoding: Encoding) -> Iterator[Scoped | Rejected]:
    if encoding == "json":
        return of_json.scopes(body)
    # Imported here: whoever sends JSON does not need it.
    from . import of_protobuf

    return of_protobuf.scopes(body)


def _records(scoped: Scoped) -> Iterator[Received | Rejected]:
    resource, scope = scoped.resource, scoped.scope
    try:
        attributes, named = _resource(resource), _scope(scope)
        head = (
            f'{{"resourceLogs":[{{"resource":{compact(resource)},"scopeLogs":[{{"scope":{compact(scope)},"logRecords":['
        )
    except (NotARecord, ValueError, RecursionError) as error:
        yield from (rejected(f"resource or scope: {error}", scoped.show(record)) for record in scoped.records)
        return
    for item in scoped.records:
        try:
            text, record = scoped.read(item, attributes, named)
            line = f"{head}{text}]}}]}}]}}"
            if len(line) > MAX_LINE_CHARACTERS:
                raise NotARecord(f"a record of {len(line)} characters, at most {MAX_LINE_CHARACTERS} are taken")
            if record.record_id is None:
                raise NotARecord("no audit.record.id")
        except (ValueError, RecursionError) as error:
            yield rejected(str(error) or "nested too deeply", scoped.show(item))
            continue
        yield Received(line, record)


def _resource(tree: Any) -> dict[str, Any]:
    if not isinstance(tree, dict):
        raise NotARecord("no JSON object")
    return attributes_of(tree.get("attributes", []), [], "resource attribute")


def _scope(tree: Any) -> tuple[str, str]:
    if not isinstance(tree, dict):
        raise NotARecord("no JSON object")
    name, version = tree.get("name", ""), tree.get("version", "")
    if not isinstance(name, str) or not isinstance(version, str):
        raise NotARecord("the scope's name or version is no string")
    return name, version
