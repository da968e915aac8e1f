# SPDX-License-Identifier: Apache-2.0
"""What a caller says in its arguments cannot change who acted and on what."""

from __future__ import annotations

from opentelemetry.instrumentation.mcp_audit.record import attributes as a
from opentelemetry.instrumentation.mcp_audit.record.assemble import Facts, assemble
from opentelemetry.instrumentation.mcp_audit.record.content import Content, Limits
from opentelemetry.instrumentation.mcp_audit.record.record import Actor, Invocation, Outcome
from opentelemetry.instrumentation.mcp_audit.record.rules import DEFAULT_RULES

SAID = ["alice@corp.example", "delete_patient", "clinic-9", "192.168.10.7", "https://id.example", "nurse-role"]


def made(method: str, params: dict[str, object], actor: Actor) -> dict[str, object]:
    facts = Facts(
        record_id="r",
        request_id="r",
        actor=actor,
        level="request_response",
        rule="calls",
        policy_hash="0" * 64,
        ended=2,
        duration_ns=1,
        salt="00" * 16,
        client_address="192.168.10.7",
        source_type="ipv4",
    )
    outcome = Outcome("ok", result={"said": SAID})
    record = assemble(Invocation(method, params), outcome, facts, Content(DEFAULT_RULES, Limits()), lambda text: "h")
    return {**record.attributes, "body": record.body}


def test_a_caller_cannot_erase_itself_by_naming_itself_a_password() -> None:
    actor = Actor(
        id="alice@corp.example",
        provenance="verified",
        email="alice@corp.example",
        roles=["nurse-role"],
        tenant_id="clinic-9",
        issuer="https://id.example",
    )
    found = made("tools/call", {"name": "delete_patient", "arguments": {"password": SAID}}, actor)
    assert found["audit.actor.id"] == found["user.id"] == found["user.email"] == "alice@corp.example"
    assert found["gen_ai.tool.name"] == found["audit.target.id"] == "delete_patient"
    assert found["mcp_audit.tenant.id"] == "clinic-9"
    assert found["client.address"] == found["audit.source.id"] == "192.168.10.7"
    assert found["mcp_audit.actor.issuer"] == "https://id.example"
    assert found["user.roles"] == ["nurse-role"]
    # In the content it is masked all the same.
    assert all(text not in str(found["body"]) for text in SAID)


def test_a_uri_is_content_and_masked() -> None:
    secret = "correct-horse-battery"
    found = made("resources/read", {"uri": f"x://{secret}", "arguments": {"password": secret}}, Actor())
    assert found["mcp.resource.uri"] == found["audit.target.id"] == "x://[REDACTED:echo]"


def test_a_caller_that_names_no_method_leaves_a_whole_record() -> None:
    found = made("", {}, Actor())
    assert found["mcp.method.name"] == "unknown"
    assert found["audit.target.type"] == "method"
    required = {name for name, row in a.TABLE.items() if row.need == "outcomes"}
    assert required - set(found) == set()


def sized(level: a.Level, result: object) -> dict[str, object]:
    facts = Facts("r", "r", Actor(), level, "calls", "0" * 64, ended=2, duration_ns=1, salt="00" * 16)
    outcome = Outcome("ok", result=result)
    return dict(
        assemble(Invocation("tools/call", {}), outcome, facts, Content(DEFAULT_RULES, Limits()), str).attributes
    )


def test_the_size_of_an_answer_is_known_where_its_text_is_made() -> None:
    # In UTF-8 bytes, before anything is redacted or cut.
    assert sized("request_response", {"a": "é"})["mcp_audit.response.bytes"] == len('{"a":"é"}'.encode()) == 10
    assert sized("request_response", {"password": "hunter2-secret"})["mcp_audit.response.bytes"] == 29
    assert sized("request_response", "x" * 100_000)["mcp_audit.response.bytes"] == 100_002
    assert "mcp_audit.response.bytes" not in sized("request_response", None)
    assert "mcp_audit.response.bytes" not in sized("request", {"a": 1})
