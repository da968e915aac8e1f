# SPDX-License-Identifier: Apache-2.0
"""The quick way through a line says what the slow way says, whatever an attacker makes of the text and its hash."""

from __future__ import annotations

import hashlib
import re
import tempfile
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from trail_oracle import BOOT, Trail, sample

from opentelemetry.instrumentation.mcp_audit.integrity import lines as lines_module
from opentelemetry.instrumentation.mcp_audit.integrity import quick
from opentelemetry.instrumentation.mcp_audit.integrity.canonical import canonical_form, sha256_hex
from opentelemetry.instrumentation.mcp_audit.integrity.lines import LineParser, records
from opentelemetry.instrumentation.mcp_audit.integrity.parse import StoredRecord, parse_line
from opentelemetry.instrumentation.mcp_audit.integrity.report import StreamReport
from opentelemetry.instrumentation.mcp_audit.integrity.segment import check_segment
from opentelemetry.instrumentation.mcp_audit.integrity.values import NotARecord

HASH = b'{"key":"mcp_audit.record.hash","value":{"stringValue":"'
MEMBERS = re.compile(rb',("eventName":"[^"]*",)"observedTimeUnixNano":"[^"]*",([^{}]*\})\]\}\]\}\]\}$')


def trail() -> Trail:
    made = Trail()
    first: dict[str, Any] = {"x.flag": True, "x.off": False, "x.n": -12}
    second: dict[str, Any] = {"x.list": ["a", 'b"\n'], "user.roles": ["r"], "x.empty": ""}
    second["x.text"] = 'tab\t"q" \\ \x1f ü'
    made.call("tool", 'ünï \n \x01 \x7f \u2028 😀 \\ "quoted" /', **first)
    made.call("tool", **second)
    made.call("tool", body=None)
    made.close()
    whole: Trail = made
    return whole


LINES = [line[:-1] for line in trail().lines()]


def rehashed(line: bytes) -> bytes:
    """The line with the hash of its own text, as an attacker makes it who knows how the quick way takes it."""
    at, members = line.find(b"," + HASH), MEMBERS.search(line)
    begin = line.find(b'"logRecords":[') + len(b'"logRecords":[')
    if at < 0 or members is None or begin > at:
        return line
    digest = hashlib.sha256(line[begin:at] + b"]," + members[1] + members[2]).hexdigest().encode()
    after = at + 1 + len(HASH)
    return line[:after] + digest + line[after + 64 :]


def outcome(parse: Any, raw: bytes) -> list[StoredRecord] | str:
    try:
        found: list[StoredRecord] = parse(raw)
        return found
    except NotARecord as error:
        return str(error)


def agree(parser: LineParser, line: bytes) -> bool:
    """Both ways say the same, and what the quick way took is right. Returns whether it took the line."""
    made, slow = outcome(parser.parse, line), outcome(parse_line, line)
    assert made == slow
    if isinstance(made, str) or isinstance(slow, str):
        return False
    for record, other in zip(made, slow, strict=True):
        assert list(record.attributes) == list(other.attributes)
        for key, value in record.attributes.items():
            assert type(value) is type(other.attributes[key])
    if not made[0].proven:
        return False
    (record,) = slow
    form = canonical_form(record.attributes.items(), record.event_name, record.time, record.trace_id, record.span_id)
    assert sha256_hex(form) == record.attributes["mcp_audit.record.hash"]
    assert record.faults == ()
    assert record.attributes["audit.integrity.canonicalization"] == "otlp-json-jcs"
    return True


def learned() -> LineParser:
    parser = LineParser()
    parser.parse(LINES[0])
    return parser


def test_it_takes_every_line_that_was_written_as_it_should_be() -> None:
    parser = learned()
    assert [agree(parser, line) for line in LINES[1:]] == [True] * 4
    assert [rehashed(line) for line in LINES] == LINES


def test_fields_of_a_record_are_all_compared() -> None:
    assert [field.name for field in fields(StoredRecord) if not field.compare] == ["proven"]


SPELLINGS: dict[str, tuple[bytes, bytes]] = {
    "space": (b'"key":"user.id"', b'"key": "user.id"'),
    "escaped letter": (b'"ada"', b'"\\u0061da"'),
    "escaped slash": (b'"ada"', b'"a\\/da"'),
    "uppercase escape": (b"\\u001f", b"\\u001F"),
    "long escape": (b'"tab\\t', b'"tab\\u0009'),
    "raw control": (b'"tab\\t', b'"tab\t'),
    "half a pair": (b'"ada"', b'"\\ud800"'),
    "not UTF-8": (b'"ada"', b'"\xff"'),
    "surrogate in UTF-8": (b'"ada"', b'"\xed\xa0\x80"'),
    "number as number": (b'{"intValue":"1234"}', b'{"intValue":1234}'),
    "leading zero": (b'{"intValue":"1234"}', b'{"intValue":"01234"}'),
    "minus zero": (b'{"intValue":"1234"}', b'{"intValue":"-0"}'),
    "number too large": (b'{"intValue":"1234"}', b'{"intValue":"9223372036854775808"}'),
    "largest number": (b'{"intValue":"1234"}', b'{"intValue":"9223372036854775807"}'),
    "number as string": (b'{"intValue":"1234"}', b'{"stringValue":"1234"}'),
    "string as number": (b'{"stringValue":"tools/call"}', b'{"intValue":"7"}'),
    "truth as string": (b'{"boolValue":true}', b'{"boolValue":"true"}'),
    "double": (b'{"boolValue":true}', b'{"doubleValue":1.5}'),
    "list as text": (b'{"arrayValue":{"values":[{"stringValue":"r"}]}}', b'{"stringValue":"[\\"r\\"]"}'),
    "empty list": (b'{"values":[{"stringValue":"r"}]}', b'{"values":[]}'),
    "list of numbers": (b'{"values":[{"stringValue":"r"}]}', b'{"values":[{"intValue":"1"}]}'),
    "two values": (b'{"stringValue":"ada"}', b'{"stringValue":"ada","intValue":"1"}'),
    "value twice": (b'{"stringValue":"ada"}', b'{"stringValue":"eve","stringValue":"ada"}'),
    "no value": (b'{"stringValue":"ada"}', b"{}"),
    "third member": (b'"value":{"stringValue":"ada"}}', b'"value":{"stringValue":"ada"},"x":1}'),
    "key and value swapped": (
        b'{"key":"user.id","value":{"stringValue":"ada"}}',
        b'{"value":{"stringValue":"ada"},"key":"user.id"}',
    ),
    "attribute twice": (
        b'{"key":"user.id","value":{"stringValue":"ada"}}',
        b'{"key":"user.id","value":{"stringValue":"ada"}},{"key":"user.id","value":{"stringValue":"ada"}}',
    ),
    "out of order": (
        b'{"key":"user.id","value":{"stringValue":"ada"}}',
        b'{"key":"user.id","value":{"stringValue":"ada"}},{"key":"audit.a","value":{"stringValue":"x"}}',
    ),
    "key beyond ASCII": (b'"key":"x.list"', '"key":"x.lïst"'.encode()),
    "escaped key": (b'"key":"x.list"', b'"key":"x.l\\u0069st"'),
    "carrier key": (b'"key":"x.list"', b'"key":"log.file.name"'),
    "integrity key": (b'"key":"audit.action"', b'"key":"audit.integrity.signature"'),
    "hash among the others": (b'"key":"x.list"', b'"key":"mcp_audit.record.hash"'),
    "other canonicalization": (b'"otlp-json-jcs"', b'"otlp-json-jcx"'),
    "uppercase id": (b'"spanId":"eee19b7ec3c1b174"', b'"spanId":"EEE19B7EC3C1B174"'),
    "zero id": (b'"spanId":"eee19b7ec3c1b174"', b'"spanId":"0000000000000000"'),
    "zero trace": (b"5b8efff798038103d269b633813fc60c", b"00000000000000000000000000000000"),
    "empty id": (b'"spanId":"eee19b7ec3c1b174"', b'"spanId":""'),
    "null body": (b'"body":{"stringValue"', b'"body":null,"x":{"stringValue"'),
    "empty body": (b'"body":{"stringValue":"', b'"body":{"stringValue":"","x":"'),
    "control in the body": (b'"body":{"stringValue":"', b'"body":{"stringValue":"\x01'),
    "half a pair in the body": (b'"body":{"stringValue":"', b'"body":{"stringValue":"\\ud800'),
    "escapes in the body": (b'"body":{"stringValue":"', b'"body":{"stringValue":"\\u0061\\/'),
    "unknown member": (b',"eventName":', b',"severityText":"INFO","eventName":'),
    "other order": (b'"eventName":"mcp_audit.tool_call",', b""),
    "time zero": (b'"timeUnixNano":"1', b'"timeUnixNano":"01'),
    "time as number": (b'"timeUnixNano":"1764000002000000000"', b'"timeUnixNano":1764000002000000000'),
    "negative time": (b'"timeUnixNano":"1', b'"timeUnixNano":"-1'),
    "trailing comma": (b"]}]}]}", b",]}]}]}"),
    "second record": (b"]}]}]}", b',{"attributes":[]}]}]}]}'),
    "white space at the end": (b"]}]}]}", b"]}]}]} "),
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_another_spelling_with_the_hash_of_its_own_text(name: str) -> None:
    before, after = SPELLINGS[name]
    parser, met = learned(), 0
    for line in LINES[1:]:
        changed = line.replace(before, after, 1)
        met += changed != line
        for one in (changed, rehashed(changed), line):
            agree(parser, one)
    assert met


TOKENS = [
    *{token for pair in SPELLINGS.values() for token in pair if token},
    b'"', b"\\", b",", b"{", b"}", b"]", b":", b" ", b"\n"[:0], b"\0", b"0", b"1", b"e", b"\x7f", b"\\u0000", b"\\n", b"null",
]  # fmt: skip


@given(
    st.integers(1, len(LINES) - 1),
    st.lists(
        st.tuples(st.integers(0, 2600), st.integers(0, 60), st.sampled_from(TOKENS) | st.binary(max_size=6)),
        min_size=1,
        max_size=3,
    ),
    st.booleans(),
)
@example(1, [(0, 0, b"")], True)
@settings(max_examples=1500, deadline=None)
def test_any_change_of_the_text_with_the_hash_of_the_text(
    index: int, splices: list[tuple[int, int, bytes]], rehash: bool
) -> None:
    line = LINES[index]
    begin = line.find(b'"logRecords":[')
    for at, cut, token in splices:
        at = begin + at % (len(line) - begin)
        line = line[:at] + token + line[at + cut :]
    parser = learned()
    agree(parser, rehashed(line) if rehash else line)
    agree(parser, LINES[1])  # whatever it learned from that line


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
names = st.from_regex(r"[A-Za-z_.][A-Za-z0-9_.-]{0,6}", fullmatch=True)
values = texts | st.integers(-(2**63), 2**63 - 1) | st.booleans() | st.lists(texts, min_size=1, max_size=3)


@given(st.lists(st.dictionaries(names, values, max_size=5), min_size=1, max_size=4), texts)
@settings(max_examples=300, deadline=None)
def test_whatever_is_written_is_read_alike(calls: list[dict[str, Any]], body: str) -> None:
    made = Trail()
    for extra in calls:
        made.call("tool", body=body or None, **extra)
    parser = LineParser()
    for line in made.lines():
        agree(parser, line[:-1])


def verified(data: bytes) -> StreamReport:
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.seek(0)
        return check_segment(records(file, sample(2).name), sample(2).name, BOOT)


@given(st.integers(0, 9000), st.integers(0, 40), st.sampled_from(TOKENS) | st.binary(max_size=6))
@settings(max_examples=300, deadline=None)
def test_the_findings_are_the_same(at: int, cut: int, token: bytes) -> None:
    data = b"".join(line + b"\n" for line in LINES)
    at %= len(data)
    data = data[:at] + token + data[at + cut :]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quick.QuickReader, "read", lambda *arguments: None)
        slow = verified(data)
    assert verified(data) == slow
    assert vars(lines_module)["QuickReader"] is quick.QuickReader


def test_what_it_knows_is_bounded() -> None:
    made = Trail()
    reader = quick.QuickReader()
    for number in range(5000):
        assert reader._pair(f'x.k{number}","value":{{"stringValue":"{number}"}}}}') == (f"x.k{number}", str(number))
    assert 0 < len(reader._known) <= 4096
    assert reader._pair('x.long","value":{"stringValue":"' + "y" * 300 + '"}}') == ("x.long", "y" * 300)
    assert all(len(piece) <= 256 for piece in reader._known)
    assert made.records


@pytest.mark.parametrize(
    "inside", ["\\\\" * 100_000, "a" * 400_000, '\\"x' * 100_000, "\\\\" * 100_000 + "\\x", "a" * 400_000 + "\\"]
)
def test_long_strings_take_linear_time(inside: str) -> None:
    found = quick.QuickReader()._pair(f'x.long","value":{{"stringValue":"{inside}"}}}}')
    assert (found is None) == inside.endswith(("\\x", "a\\"))
