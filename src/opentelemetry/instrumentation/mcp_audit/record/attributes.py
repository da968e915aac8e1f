# SPDX-License-Identifier: Apache-2.0
"""Every attribute, event and outcome that a record may hold; nothing else in the package spells one out.

Names come from three places: ``audit.*`` from the OpenTelemetry audit draft (a draft, not adopted), MCP, GenAI and
general names from the semantic conventions, everything else is ``mcp_audit.*``. The table is frozen per
``audit.schema.version``: attributes may be added in 1.x, none is renamed or retyped.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

SCHEMA_VERSION: Final = "1.0"
CANONICALIZATION: Final = "otlp-json-jcs"

AttributeType = Literal["string", "int", "bool", "strings"]
AttributeValue = str | int | bool | list[str]
Need = Literal["always", "outcomes", "may"]


@dataclass(frozen=True, slots=True)
class Attribute:
    """One row: its type on the wire, and which records must carry it (``outcomes`` = every outcome record)."""

    name: str
    type: AttributeType
    need: Need


TABLE: Final[dict[str, Attribute]] = {}


def _row(name: str, type_: AttributeType = "string", need: Need = "may") -> str:
    TABLE[name] = Attribute(name, type_, need)
    return name


# --- OpenTelemetry audit draft -------------------------------------------------------------------------------------
AUDIT_RECORD_ID: Final = _row("audit.record.id", need="always")
AUDIT_ACTION: Final = _row("audit.action", need="always")
AUDIT_OUTCOME: Final = _row("audit.outcome", need="always")
AUDIT_ACTOR_ID: Final = _row("audit.actor.id", need="always")
AUDIT_ACTOR_TYPE: Final = _row("audit.actor.type", need="always")
AUDIT_TARGET_ID: Final = _row("audit.target.id")
AUDIT_TARGET_TYPE: Final = _row("audit.target.type")
AUDIT_SOURCE_ID: Final = _row("audit.source.id")
AUDIT_SOURCE_TYPE: Final = _row("audit.source.type")
AUDIT_SCHEMA_VERSION: Final = _row("audit.schema.version", need="always")
AUDIT_SEQUENCE_NUMBER: Final = _row("audit.sequence.number", "int", need="always")
AUDIT_SEQUENCE_STREAM_ID: Final = _row("audit.sequence.stream_id", need="always")
AUDIT_SEQUENCE_PREVIOUS_HASH: Final = _row("audit.sequence.previous_hash")
AUDIT_SEQUENCE_END: Final = _row("audit.sequence.end", "bool")
AUDIT_INTEGRITY_CANONICALIZATION: Final = _row("audit.integrity.canonicalization", need="always")

# --- semantic conventions ------------------------------------------------------------------------------------------
MCP_METHOD_NAME: Final = _row("mcp.method.name", need="outcomes")
MCP_RESOURCE_URI: Final = _row("mcp.resource.uri")
MCP_SESSION_ID: Final = _row("mcp.session.id")
MCP_PROTOCOL_VERSION: Final = _row("mcp.protocol.version")
GEN_AI_TOOL_NAME: Final = _row("gen_ai.tool.name")
GEN_AI_OPERATION_NAME: Final = _row("gen_ai.operation.name")
GEN_AI_PROMPT_NAME: Final = _row("gen_ai.prompt.name")
GEN_AI_AGENT_ID: Final = _row("gen_ai.agent.id")
GEN_AI_AGENT_NAME: Final = _row("gen_ai.agent.name")
JSONRPC_REQUEST_ID: Final = _row("jsonrpc.request.id")
USER_ID: Final = _row("user.id")
USER_EMAIL: Final = _row("user.email")
USER_ROLES: Final = _row("user.roles", "strings")
CLIENT_ADDRESS: Final = _row("client.address")
CLIENT_PORT: Final = _row("client.port", "int")
NETWORK_TRANSPORT: Final = _row("network.transport")
USER_AGENT_ORIGINAL: Final = _row("user_agent.original")
ERROR_TYPE: Final = _row("error.type")
RPC_RESPONSE_STATUS_CODE: Final = _row("rpc.response.status_code")
HTTP_REQUEST_METHOD: Final = _row("http.request.method")
HTTP_RESPONSE_STATUS_CODE: Final = _row("http.response.status_code", "int")

# --- outcome and decision ------------------------------------------------------------------------------------------
OUTCOME_DETAIL: Final = _row("mcp_audit.outcome.detail", need="outcomes")
DECISION: Final = _row("mcp_audit.decision")
DECISION_BY: Final = _row("mcp_audit.decision.by")
DECISION_REASON: Final = _row("mcp_audit.decision.reason")
DURATION_US: Final = _row("mcp_audit.duration_us", "int", need="outcomes")
REQUEST_BYTES: Final = _row("mcp_audit.request.bytes", "int")
RESPONSE_BYTES: Final = _row("mcp_audit.response.bytes", "int")
RESULT_COUNT: Final = _row("mcp_audit.result.count", "int")
REQUEST_DIGEST: Final = _row("mcp_audit.request.digest")

# --- actor ---------------------------------------------------------------------------------------------------------
ACTOR_PROVENANCE: Final = _row("mcp_audit.actor.provenance", need="outcomes")
ACTOR_ISSUER: Final = _row("mcp_audit.actor.issuer")
ACTOR_CLIENT_ID: Final = _row("mcp_audit.actor.client_id")
ACTOR_SCOPES: Final = _row("mcp_audit.actor.scopes", "strings")
ACTOR_TOKEN_ID: Final = _row("mcp_audit.actor.token.id")
ACTOR_CHAIN: Final = _row("mcp_audit.actor.chain", "strings")
TENANT_ID: Final = _row("mcp_audit.tenant.id")
CLIENT_NAME: Final = _row("mcp_audit.client.name")
CLIENT_VERSION: Final = _row("mcp_audit.client.version")

# --- request -------------------------------------------------------------------------------------------------------
CALL_ID: Final = _row("mcp_audit.call.id", need="outcomes")
REQUEST_ID: Final = _row("mcp_audit.request.id", need="outcomes")
INITIATOR: Final = _row("mcp_audit.initiator")
STATE_GIVEN: Final = _row("mcp_audit.state.given")
STATE_ISSUED: Final = _row("mcp_audit.state.issued")
TASK_ID: Final = _row("mcp_audit.task.id")

# `client` on the records of a client's hook; a record without it is the server's.
ROLE: Final = _row("mcp_audit.role")

# --- compliance ----------------------------------------------------------------------------------------------------
PURPOSE: Final = _row("mcp_audit.purpose")
PURPOSE_SOURCE: Final = _row("mcp_audit.purpose.source")
DATA_CLASSES: Final = _row("mcp_audit.data.classes", "strings")
DATA_SENSITIVITY: Final = _row("mcp_audit.data.sensitivity")
DATA_SUBJECT: Final = _row("mcp_audit.data.subject")
RESOURCES: Final = _row("mcp_audit.resources", "strings")
RETENTION_CLASS: Final = _row("mcp_audit.retention.class")

# --- how the record was made ---------------------------------------------------------------------------------------
POLICY_RULE: Final = _row("mcp_audit.policy.rule")
POLICY_HASH: Final = _row("mcp_audit.policy.hash")
LEVEL: Final = _row("mcp_audit.level", need="outcomes")
REDACTIONS: Final = _row("mcp_audit.redactions", "strings")
TRUNCATED: Final = _row("mcp_audit.truncated", "strings")
CONTENT_DIGEST: Final = _row("mcp_audit.content.digest")
RECORD_HASH: Final = _row("mcp_audit.record.hash", need="always")

# --- lifecycle, gap ------------------------------------------------------------------------------------------------
LIFECYCLE_KIND: Final = _row("mcp_audit.lifecycle.kind")
RESOURCE_HASH: Final = _row("mcp_audit.resource.hash")
SETTINGS_HASH: Final = _row("mcp_audit.settings.hash")
BOOT_ID: Final = _row("mcp_audit.boot.id")
STREAM_ID: Final = _row("mcp_audit.stream.id")
STREAM_FILE: Final = _row("mcp_audit.stream.file")
STREAM_COUNT: Final = _row("mcp_audit.stream.count", "int")
STREAM_HEAD: Final = _row("mcp_audit.stream.head")
STREAM_REASON: Final = _row("mcp_audit.stream.reason")
STREAM_TORN_BYTES: Final = _row("mcp_audit.stream.torn_bytes", "int")
STREAM_OPEN_CALLS: Final = _row("mcp_audit.stream.open_calls", "int")
STREAM_PREVIOUS_ID: Final = _row("mcp_audit.stream.previous_id")
STREAM_PREVIOUS_HASH: Final = _row("mcp_audit.stream.previous_hash")
PROCESS_PID: Final = _row("mcp_audit.process.pid", "int")
PROCESS_START_TIME: Final = _row("mcp_audit.process.start_time")
VERSIONS: Final = _row("mcp_audit.versions", "strings")
GAP_COUNT: Final = _row("mcp_audit.gap.count", "int")
GAP_REASON: Final = _row("mcp_audit.gap.reason")
GAP_MODE: Final = _row("mcp_audit.gap.mode")
GAP_FROM: Final = _row("mcp_audit.gap.from")
GAP_TO: Final = _row("mcp_audit.gap.to")

# --- summary --------------------------------------------------------------------------------------------------------
SUMMARY_KIND: Final = _row("mcp_audit.summary.kind")
SUMMARY_COUNT: Final = _row("mcp_audit.summary.count", "int")
SUMMARY_FROM: Final = _row("mcp_audit.summary.from")
SUMMARY_TO: Final = _row("mcp_audit.summary.to")
SUMMARY_OTHERS: Final = _row("mcp_audit.summary.others", "bool")

# --- added on the way by others, never part of the canonical form (FORMAT 2); shown as unauthenticated --------------
CARRIER_KEYS: Final = frozenset(
    {
        "mcp_audit.collector.peer",
        "mcp_audit.collector.subject",
        "log.file.name",
        "log.file.path",
        "log.file.name_resolved",
        "log.file.path_resolved",
    }
)
INTEGRITY_PREFIX: Final = "audit.integrity."
SEQUENCE_PREFIX: Final = "audit.sequence."

# --- events --------------------------------------------------------------------------------------------------------
EVENT_TOOL_CALL: Final = "mcp_audit.tool_call"
EVENT_RESOURCE_READ: Final = "mcp_audit.resource_read"
EVENT_PROMPT_GET: Final = "mcp_audit.prompt_get"
EVENT_REQUEST: Final = "mcp_audit.request"
EVENT_ACCESS_DENIED: Final = "mcp_audit.access_denied"
EVENT_SUMMARY: Final = "mcp_audit.summary"
# The caller's view: no count of the server's records finds these.
EVENT_CLIENT_TOOL_CALL: Final = "mcp_audit.client_tool_call"
EVENT_CLIENT_RESOURCE_READ: Final = "mcp_audit.client_resource_read"
EVENT_CLIENT_PROMPT_GET: Final = "mcp_audit.client_prompt_get"
EVENT_CLIENT_REQUEST: Final = "mcp_audit.client_request"
EVENT_UNDELIVERED: Final = "mcp_audit.undelivered"
EVENT_GAP: Final = "mcp_audit.gap"
EVENT_HEARTBEAT: Final = "mcp_audit.heartbeat"
EVENT_LIFECYCLE: Final = "mcp_audit.lifecycle"

CLIENT_EVENTS: Final[dict[str, str]] = {
    EVENT_TOOL_CALL: EVENT_CLIENT_TOOL_CALL,
    EVENT_RESOURCE_READ: EVENT_CLIENT_RESOURCE_READ,
    EVENT_PROMPT_GET: EVENT_CLIENT_PROMPT_GET,
    EVENT_REQUEST: EVENT_CLIENT_REQUEST,
}
OUTCOME_EVENTS: Final = frozenset(
    {EVENT_TOOL_CALL, EVENT_RESOURCE_READ, EVENT_PROMPT_GET, EVENT_REQUEST, EVENT_ACCESS_DENIED}
) | frozenset(CLIENT_EVENTS.values())

Role = Literal["server", "client"]
Level = Literal["none", "metadata", "digest", "request", "request_response"]


@dataclass(frozen=True, slots=True)
class Method:
    """What a request of this method is called in the trail, and how much of it is kept when no rule says."""

    event: str
    action: str
    target_type: str
    level: Level


METHODS: Final[dict[str, Method]] = {
    "tools/call": Method(EVENT_TOOL_CALL, "EXECUTE", "tool", "request"),
    "resources/read": Method(EVENT_RESOURCE_READ, "READ", "resource", "request"),
    "prompts/get": Method(EVENT_PROMPT_GET, "READ", "prompt", "request"),
    **{
        name: Method(EVENT_REQUEST, "READ", "method", "none")
        for name in (
            "initialize",
            "ping",
            "server/discover",
            "tools/list",
            "resources/list",
            "resources/templates/list",
            "prompts/list",
            "completion/complete",
            "tasks/list",
            "roots/list",
        )
    },
    **{
        name: Method(EVENT_REQUEST, "UPDATE", "method", "none")
        for name in (
            "logging/setLevel",
            "resources/subscribe",
            "resources/unsubscribe",
            "subscriptions/listen",
        )
    },
    # What becomes of a call that was made a task: as much of it as of any request that is no housekeeping.
    "tasks/result": Method(EVENT_REQUEST, "READ", "method", "metadata"),
    # Only the one that brings it, or fails: see `polled.py`.
    "tasks/get": Method(EVENT_REQUEST, "READ", "method", "metadata"),
    "tasks/cancel": Method(EVENT_REQUEST, "UPDATE", "method", "metadata"),
    # What the server asks the client's user, or the client's model: kept, without what was said.
    "elicitation/create": Method(EVENT_REQUEST, "EXECUTE", "method", "metadata"),
    "sampling/createMessage": Method(EVENT_REQUEST, "EXECUTE", "method", "metadata"),
}
# A method that is in no table is somebody trying something: kept, without content, whatever became of it.
OTHER_METHOD: Final = Method(EVENT_REQUEST, "EXECUTE", "method", "metadata")
# Refused before any method was reached: what stands for the method where nothing but the body would tell it.
UNKNOWN_METHOD: Final = "unknown"
REFUSED: Final = Method(EVENT_ACCESS_DENIED, "EXECUTE", "endpoint", "metadata")


def event_of(method: str, role: Role) -> str:
    """The event of a request's record, in the view of the server or of a client."""
    event = METHODS.get(method, OTHER_METHOD).event
    return event if role == "server" else CLIENT_EVENTS[event]


Detail = Literal[
    "ok",
    "tool_error",
    "invalid_arguments",
    "invalid_output",
    "unknown_tool",
    "unknown_method",
    "invalid_params",
    "protocol_error",
    "timeout",
    "denied",
    "cancelled",
    "client_gone",
    "input_required",
    "task_created",
    "abandoned",
]
AuditOutcome = Literal["success", "failure", "unknown"]
Decision = Literal["allowed", "denied"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a detail means: the audit draft's outcome, the access decision, ``error.type`` when none is more exact."""

    outcome: AuditOutcome
    decision: Decision
    error_type: str | None


# Only `denied` is a decision against the caller: every other end means that access was not refused.
DETAILS: Final[dict[Detail, Verdict]] = {
    "ok": Verdict("success", "allowed", None),
    "tool_error": Verdict("failure", "allowed", "tool_error"),
    "invalid_arguments": Verdict("failure", "allowed", "invalid_arguments"),
    "invalid_output": Verdict("failure", "allowed", "invalid_output"),
    "unknown_tool": Verdict("failure", "allowed", "unknown_tool"),
    "unknown_method": Verdict("failure", "allowed", "-32601"),
    "invalid_params": Verdict("failure", "allowed", "-32602"),
    "protocol_error": Verdict("failure", "allowed", "protocol_error"),
    "timeout": Verdict("failure", "allowed", "timeout"),
    "denied": Verdict("failure", "denied", "denied"),
    "cancelled": Verdict("unknown", "allowed", None),
    "client_gone": Verdict("unknown", "allowed", None),
    "input_required": Verdict("unknown", "allowed", None),
    "task_created": Verdict("unknown", "allowed", None),
    "abandoned": Verdict("unknown", "allowed", None),
}
