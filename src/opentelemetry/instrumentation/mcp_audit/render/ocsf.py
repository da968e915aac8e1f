# SPDX-License-Identifier: Apache-2.0
"""A record as an event of OCSF 1.9, class API Activity (6003), with those of the profiles ai_operation, record_integrity
and security_control that it has fields of. Source: the Open Cybersecurity Schema Framework, ``events/application/api_activity.json`` and its objects;
what it requires is in ``ocsf.schema.json``.

An outcome that is not known has status 0, never success; a denial is an action of the access control, and the status says
that the call failed. What OCSF has no place for is under ``unmapped``. Times are whole milliseconds there: the nanoseconds
stand in ``unmapped``, since with them goes the order of events.

``collector-config/renderings/ocsf.yaml`` makes the same event in a Collector; golden records hold both to each other.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from opentelemetry.instrumentation.mcp_audit.record import attributes as a

from .seed import Rendered, body_of
from .text import json_visible

VERSION: Final = "1.9.0"
_CATEGORY: Final = 6
_CLASS: Final = 6003
_INFORMATIONAL: Final = 1
_ACTIVITIES: Final = {"CREATE": (1, "Create"), "READ": (2, "Read"), "UPDATE": (3, "Update"), "DELETE": (4, "Delete")}
_OTHER: Final = 99
_VERB: Final = re.compile(r"[A-Z][A-Z]+")
_STATUS: Final = {"success": (1, "Success"), "failure": (2, "Failure")}
_UNKNOWN: Final = (0, "Unknown")
_ACTIONS: Final = {"allowed": (1, "Allowed"), "denied": (2, "Denied")}
# Of a user: what the actor of a record is.
_USER_TYPES: Final = {"user": 1, "system": 3, "service": 4}
# The hash is over the record in its own canonical form and not over this event, as an attestation by the book would be:
# so it is named as what it is, and not by the number that OCSF has for SHA-256.
_HASH: Final = "SHA-256 of the audit record (otlp-json-jcs)"
_PREFIX: Final = "mcp_audit."

# Attribute -> where it goes in `unmapped`: facts of the record that OCSF has no place for.
_UNMAPPED: Final = {
    a.OUTCOME_DETAIL: "outcome_detail",
    a.DECISION_BY: "decision_by",
    a.DECISION_REASON: "decision_reason",
    a.DURATION_US: "duration_us",
    a.RESULT_COUNT: "result_count",
    a.ACTOR_PROVENANCE: "actor_provenance",
    a.ACTOR_CHAIN: "actor_chain",
    a.PURPOSE: "purpose",
    a.DATA_CLASSES: "data_classes",
    a.LEVEL: "level",
    a.AUDIT_SEQUENCE_NUMBER: "sequence_number",
    a.AUDIT_SEQUENCE_END: "sequence_end",
    a.AUDIT_SEQUENCE_PREVIOUS_HASH: "previous_hash",
    a.CONTENT_DIGEST: "content_digest",
    a.LIFECYCLE_KIND: "lifecycle_kind",
    a.GAP_COUNT: "gap_count",
    a.GAP_REASON: "gap_reason",
    a.SUMMARY_COUNT: "summary_count",
    a.SUMMARY_OTHERS: "summary_others",
}


def to_ocsf(record: Rendered) -> dict[str, Any]:
    """The event. Members without a value are left out; arguments, result and error are as the body has them."""
    get = record.attributes.get
    activity, activity_name = _activity(str(get(a.AUDIT_ACTION, "")))
    status, status_name = _STATUS.get(str(get(a.AUDIT_OUTCOME)), _UNKNOWN)
    action, action_name = _ACTIONS.get(str(get(a.DECISION)), (None, None))
    attestations = _attestations(record)
    agent = _present({"uid": get(a.GEN_AI_AGENT_ID), "name": get(a.GEN_AI_AGENT_NAME)})
    profiles = {"ai_operation": agent, "record_integrity": attestations, "security_control": action}
    operation = get(a.GEN_AI_TOOL_NAME) or get(a.MCP_METHOD_NAME) or record.event_name
    event: dict[str, Any] = {
        "category_uid": _CATEGORY,
        "class_uid": _CLASS,
        "activity_id": activity,
        "activity_name": activity_name,
        "type_uid": _CLASS * 100 + activity,
        "severity_id": _INFORMATIONAL,
        "time": record.time // 1_000_000,
        "status_id": status,
        "status": status_name,
        "status_code": get(a.ERROR_TYPE),
        "action_id": action,
        "action": action_name,
        "metadata": {
            "version": VERSION,
            "uid": get(a.AUDIT_RECORD_ID),
            "correlation_uid": get(a.CALL_ID),
            "tenant_uid": get(a.TENANT_ID),
            "event_code": record.event_name,
            "log_name": "mcp_audit",
            "log_version": get(a.AUDIT_SCHEMA_VERSION),
            "profiles": [name for name, fields in profiles.items() if fields],
            "product": {"name": "opentelemetry-instrumentation-mcp-audit", "vendor_name": "mcp-audit"},
        },
        "actor": _actor(record),
        "api": {
            "operation": operation,
            "request": {"uid": get(a.REQUEST_ID) or None},
            "version": get(a.MCP_PROTOCOL_VERSION),
        },
        "src_endpoint": _source(record),
        "resources": _resources(record),
        "ai_agent": agent,
        "attestation_list": attestations,
        "unmapped": {
            **{name: get(attribute) for attribute, name in _UNMAPPED.items()},
            "time_unix_nano": str(record.time),
        },
    }
    made: dict[str, Any] = _present(event)
    _put_content(made, body_of(record))
    return made


def ocsf_line(record: Rendered) -> str:
    """The event as one line of JSON, without a line end."""
    return json_visible(json.dumps(to_ocsf(record), ensure_ascii=False, separators=(",", ":")))


def _activity(action: str) -> tuple[int, str]:
    named = action.capitalize() if _VERB.fullmatch(action) else action
    return _ACTIVITIES.get(action, (_OTHER, named or "Other"))


def _put_content(event: dict[str, Any], body: dict[str, Any]) -> None:
    """What the body holds, with its own nulls and empty objects: they are what was asked and answered."""
    api, error = event["api"], body.get("error")
    if "request" in api and body.get("arguments") is not None:
        api["request"]["data"] = body["arguments"]
    message = error.get("message") if isinstance(error, dict) else None
    response = {"data": body.get("result"), "error_message": message if isinstance(message, str) else None}
    if any(value is not None for value in response.values()):
        api["response"] = {name: value for name, value in response.items() if value is not None}
    if error is not None:
        event["unmapped"]["error"] = error


def _actor(record: Rendered) -> dict[str, Any]:
    get = record.attributes.get
    kind = str(get(a.AUDIT_ACTOR_TYPE, ""))
    return {
        "user": {
            "uid": get(a.USER_ID) or get(a.AUDIT_ACTOR_ID) or "unknown",
            "email_addr": get(a.USER_EMAIL),
            "type_id": _USER_TYPES.get(kind, 0),
        },
        "app_name": get(a.CLIENT_NAME),
        "app_uid": get(a.ACTOR_CLIENT_ID),
        "session": {"uid": get(a.MCP_SESSION_ID)},
    }


def _source(record: Rendered) -> dict[str, Any]:
    """Where the request came from; of a pipe there is no address, and something must be named."""
    get = record.attributes.get
    address = get(a.CLIENT_ADDRESS)
    if address is None:
        # A summary of refusals names a source that may be a network.
        return {"name": get(a.AUDIT_SOURCE_ID) or get(a.NETWORK_TRANSPORT) or "local"}
    return {"ip": address, "port": get(a.CLIENT_PORT)}


def _resources(record: Rendered) -> list[dict[str, Any]] | None:
    get = record.attributes.get
    target = get(a.AUDIT_TARGET_ID)
    named: list[dict[str, Any]] = [] if target is None else [{"uid": target, "type": get(a.AUDIT_TARGET_TYPE)}]
    touched = get(a.RESOURCES)
    named += [{"uid": uid} for uid in touched] if isinstance(touched, list) else []
    return named or None


def _attestations(record: Rendered) -> list[dict[str, Any]] | None:
    get = record.attributes.get
    if get(a.RECORD_HASH) is None:
        return None
    # No `prev_event`: OCSF wants that event's uid there, and a record knows only the hash of the one before it.
    return [
        {
            "chain_uid": get(a.AUDIT_SEQUENCE_STREAM_ID),
            "fingerprint": {"algorithm_id": _OTHER, "algorithm": _HASH, "value": get(a.RECORD_HASH)},
        }
    ]


def _present(value: Any) -> Any:
    """Without what has no value, and without objects in which nothing is left."""
    if isinstance(value, dict):
        kept = {key: _present(item) for key, item in value.items()}
        return {key: item for key, item in kept.items() if item is not None and item != {}}
    return [_present(item) for item in value] if isinstance(value, list) else value
