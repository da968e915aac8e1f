# SPDX-License-Identifier: Apache-2.0
"""The quick way through a line that has exactly the spelling in which this package writes: no JSON is parsed.

What it takes is proven, not guessed: the record's text must be, from end to end, attributes of one strict grammar (the
keys ASCII and rising, the values of the type that the table gives, the escapes those of RFC 8785), then the hash, then
the fixed members. Such a text *is* the canonical form but for what the form leaves out, so its SHA-256 can be taken
from the text; and it must be the hash that stands in the record. Anything else, and anything wrong, goes the slow way
(``parse.py``), which says what it is. A property test holds both ways to each other.

Attributes are parsed one by one, and most of a record's are, to the byte, those of the record before: they are known.
"""

from __future__ import annotations

import json
import re
from json.decoder import scanstring  # type: ignore[attr-defined]  # the C function behind json.loads
from typing import Final

from opentelemetry.instrumentation.mcp_audit.record.attributes import (
    AUDIT_INTEGRITY_CANONICALIZATION,
    AUDIT_RECORD_ID,
    AUDIT_SEQUENCE_NUMBER,
    AUDIT_SEQUENCE_PREVIOUS_HASH,
    CALL_ID,
    CANONICALIZATION,
    CONTENT_DIGEST,
    DURATION_US,
    RECORD_HASH,
    REQUEST_ID,
    TABLE,
    AttributeValue,
)

from .canonical import in_form, sha256_hex
from .parse import StoredRecord

# A string's inside as RFC 8785 spells it: the short escapes where there are such, \u00xx in lowercase for the rest.
# (Unrolled, so that a regular expression needs neither memory nor time to come back from a long one.)
_CHARS: Final = r'[^"\\\x00-\x1f]*(?:\\(?:["\\bfnrt]|u00(?:0[0-7bef]|1[0-9a-f]))[^"\\\x00-\x1f]*)*'
_KEY: Final = r'([A-Za-z0-9_.-]+)","value":\{'
_PLAIN: Final = re.compile(_KEY + r'"stringValue":"([^"\\\x00-\x1f]*)"\}\}')
_ANY: Final = re.compile(
    _KEY
    + rf'(?:"stringValue":("{_CHARS}")|"intValue":"(0|-?[1-9][0-9]{{0,17}})"|"boolValue":(true|false)|'
    + rf'"arrayValue":\{{"values":(\[\{{"stringValue":"{_CHARS}"\}}(?:,\{{"stringValue":"{_CHARS}"\}})*\])\}})\}}\}}'
)
_DECLARED: Final = {name: row.type for name, row in TABLE.items() if in_form(name)}
_BEGIN: Final = '{"attributes":[{"key":"'
_NEXT: Final = ',{"key":"'
_HASH: Final = f',{{"key":"{RECORD_HASH}","value":{{"stringValue":"'
_HASH_CHARS: Final = 64
_AFTER_HASH: Final = (
    f'"}}}},{{"key":"{AUDIT_INTEGRITY_CANONICALIZATION}","value":{{"stringValue":"{CANONICALIZATION}"}}}}]'
)
_BODY: Final = ',"body":{"stringValue":"'
_REST: Final = re.compile(
    r',("eventName":"([A-Za-z0-9_.]+)",)"observedTimeUnixNano":"([1-9][0-9]{0,18})",'
    r'((?:"spanId":"([0-9a-f]{16})",)?"timeUnixNano":"([1-9][0-9]{0,18})"(?:,"traceId":"([0-9a-f]{32})")?\})'
)
_NO_IDS: Final = ("0" * 16, "0" * 32)
# These are other in every record: to know them would only cost memory.
_NEVER_THE_SAME: Final = frozenset(
    (
        AUDIT_RECORD_ID,
        AUDIT_SEQUENCE_NUMBER,
        AUDIT_SEQUENCE_PREVIOUS_HASH,
        CALL_ID,
        CONTENT_DIGEST,
        DURATION_US,
        REQUEST_ID,
    )
)
_MAX_KNOWN: Final = 4096
_MAX_KNOWN_CHARS: Final = 256

Pair = tuple[str, AttributeValue]


class QuickReader:
    """Reads the RECORD member of lines of one file. What it knows of attributes is bounded, whatever the file holds."""

    def __init__(self) -> None:
        self._known: dict[str, Pair] = {}
        self._orders: set[tuple[str, ...]] = set()

    def read(
        self, text: str, raw: bytes, resource: dict[str, AttributeValue], scope: tuple[str, str]
    ) -> StoredRecord | None:
        """The record that ``text`` is, without faults and with its right hash; None when the slow way must be gone."""
        at = text.find(_HASH)
        after = at + len(_HASH) + _HASH_CHARS
        if not text.startswith(_BEGIN) or at < 0 or not text.startswith(_AFTER_HASH, after):
            return None
        attributes = self._attributes(text[len(_BEGIN) : at])
        if attributes is None:
            return None
        rest, body = after + len(_AFTER_HASH), None
        if text.startswith(_BODY, rest):
            try:
                body, end = scanstring(text, rest + len(_BODY), True)
            except ValueError:
                return None
            if not text.startswith("}", end) or "\\ud" in text or "\\uD" in text:
                return None
            rest = end + 1
        found = _REST.fullmatch(text, rest)
        if found is None:
            return None
        name, event, observed, ids, span, time, trace = found.groups("")
        stated = text[at + len(_HASH) : after]
        if sha256_hex(f"{text[:at]}],{name}{ids}".encode()) != stated or span in _NO_IDS or trace in _NO_IDS:
            return None
        attributes[RECORD_HASH] = stated
        attributes[AUDIT_INTEGRITY_CANONICALIZATION] = CANONICALIZATION
        return StoredRecord(
            event, int(time), int(observed), trace, span, attributes, body or None, resource, scope, (), raw, True
        )

    def _attributes(self, text: str) -> dict[str, AttributeValue] | None:
        pieces = text.split(_NEXT)
        pairs = list(map(self._known.get, pieces))
        try:
            at = -1
            while True:
                at = pairs.index(None, at + 1)
                pair = self._pair(pieces[at])
                if pair is None:
                    return None
                pairs[at] = pair
        except ValueError:
            pass  # none is unknown any more
        made: dict[str, AttributeValue] = dict(pairs)  # type: ignore[arg-type]
        order = tuple(made)
        if order not in self._orders:
            if len(order) != len(pieces) or list(order) != sorted(order):
                return None
            if len(self._orders) >= _MAX_KNOWN:
                self._orders.clear()
            self._orders.add(order)
        elif len(order) != len(pieces):
            return None
        return made

    def _pair(self, piece: str) -> Pair | None:
        """One attribute, without what stands before its key."""
        found = _PLAIN.fullmatch(piece)
        value: AttributeValue
        if found is not None:
            key, value = found.groups()
            kind = "string"
        else:
            found = _ANY.fullmatch(piece)
            if found is None:
                return None
            key, text, number, truth, texts = found.groups()
            if number is not None:
                value, kind = int(number), "int"
            elif text is not None:
                value, kind = json.loads(text), "string"
            elif truth is not None:
                value, kind = truth == "true", "bool"
            else:
                value, kind = [item["stringValue"] for item in json.loads(texts)], "strings"
        declared = _DECLARED.get(key)
        if declared != kind and (declared is not None or not in_form(key)):
            return None
        if key not in _NEVER_THE_SAME and len(piece) <= _MAX_KNOWN_CHARS:
            if len(self._known) >= _MAX_KNOWN:
                self._known.clear()
            self._known[piece] = key, value
        return key, value
