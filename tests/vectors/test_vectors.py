# SPDX-License-Identifier: Apache-2.0
"""The package's readers and writer, held to the vectors that other implementations are given."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from opentelemetry.instrumentation.mcp_audit.integrity.canonical import canonical_form, resource_form, sha256_hex
from opentelemetry.instrumentation.mcp_audit.integrity.parse import NotARecord, parse_line
from opentelemetry.instrumentation.mcp_audit.record.assemble import content_digest
from opentelemetry.instrumentation.mcp_audit.record.encode import encode, envelope, seal
from opentelemetry.instrumentation.mcp_audit.record.record import AuditRecord

HERE = Path(__file__).parent
FILE = json.loads((HERE / "records.json").read_text(encoding="ascii"))
VECTORS: list[dict[str, Any]] = FILE["vectors"]
WRITTEN = [vector for vector in VECTORS if vector["written"]]
SEQUENCE = "audit.sequence."
JOURNALS_OWN = ("mcp_audit.record.hash", "audit.integrity.canonicalization")


def _name(vector: dict[str, Any]) -> str:
    return str(vector["name"])


def test_the_file_is_what_the_script_makes() -> None:
    spec = importlib.util.spec_from_file_location("make_vectors", HERE / "make.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (HERE / "records.json").read_text(encoding="ascii") == module.text(), "run tests/vectors/make.py"


@pytest.mark.parametrize("vector", VECTORS, ids=_name)
def test_a_reader_comes_to_the_same_forms(vector: dict[str, Any]) -> None:
    (stored,) = parse_line(vector["line"].encode())
    assert stored.faults == ()
    form = canonical_form(stored.attributes.items(), stored.event_name, stored.time, stored.trace_id, stored.span_id)
    assert form.decode() == vector["canonical_form"]
    assert sha256_hex(form) == vector["record_hash"] == stored.attributes["mcp_audit.record.hash"]
    of_resource = resource_form(stored.resource.items(), *stored.scope)
    assert of_resource.decode() == vector["resource_form"]
    assert sha256_hex(of_resource) == vector["resource_hash"]
    assert stored.body == vector["body"]
    if stored.body is not None:
        assert content_digest(stored.body) == vector["content_digest"]
        assert stored.attributes["mcp_audit.content.digest"] == vector["content_digest"]


@pytest.mark.parametrize("vector", VECTORS, ids=_name)
def test_the_record_is_the_one_in_the_line(vector: dict[str, Any]) -> None:
    (group,) = json.loads(vector["line"])["resourceLogs"]
    assert group["scopeLogs"][0]["logRecords"] == [vector["record"]]


@pytest.mark.parametrize("vector", WRITTEN, ids=_name)
def test_the_writer_makes_this_very_line(vector: dict[str, Any]) -> None:
    (stored,) = parse_line(vector["line"].encode())
    facts = stored.attributes
    own = {key: value for key, value in facts.items() if not key.startswith(SEQUENCE) and key not in JOURNALS_OWN}
    record = AuditRecord(
        stored.event_name, stored.time, stored.observed, own, stored.body, stored.trace_id, stored.span_id
    )
    previous = facts.get("audit.sequence.previous_hash")
    number = facts["audit.sequence.number"]
    assert isinstance(number, int) and (previous is None or isinstance(previous, str))
    sealed = seal(
        encode(record), str(facts["audit.sequence.stream_id"]), number, previous, "audit.sequence.end" in facts
    )
    assert sealed.hash == vector["record_hash"]
    line = envelope(stored.resource, *stored.scope).line(sealed.text)
    assert line.decode() == vector["line"] + "\n"


@pytest.mark.parametrize("vector", FILE["refused"], ids=_name)
def test_what_is_a_violation_whatever_its_hash(vector: dict[str, Any]) -> None:
    try:
        (stored,) = parse_line(vector["line"].encode())
    except NotARecord:
        return
    assert stored.faults != ()


def test_the_vectors_cover_what_they_promise() -> None:
    text = "".join(vector["canonical_form"] for vector in VECTORS)
    for piece in ("\u2028", "\U0001f600", "\\u0000", "\x7f", "9223372036854775807", "-9223372036854775808"):
        assert piece in text
    assert '{"stringValue":""}' in text and '{"boolValue":false}' in text and '"arrayValue"' in text
    assert not any(key in text for key in ("log.file.", "mcp_audit.collector.", "audit.integrity."))
    assert len({_name(vector) for vector in VECTORS}) == len(VECTORS)
