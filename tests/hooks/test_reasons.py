# SPDX-License-Identifier: Apache-2.0
"""From answers and exceptions to details, on classes that only share their names with the SDKs'."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from opentelemetry.instrumentation.mcp_audit.hooks import reasons
from opentelemetry.instrumentation.mcp_audit.record.record import Outcome


def kind(name: str, module: str = "sdk", base: type = Exception) -> Any:
    return type(name, (base,), {"__module__": module})


ToolError = kind("ToolError")
UnexpectedToolError = kind("UnexpectedToolError", base=ToolError)
NotFoundError = kind("NotFoundError", "fastmcp.exceptions")
FastValidation = kind("ValidationError", "fastmcp.exceptions")
Authorization = kind("AuthorizationError", "fastmcp.exceptions")
InsufficientScope = kind("InsufficientScopeError", "fastmcp.exceptions", Authorization)
Private = kind("_ToolBodyError", "fastmcp.tools.tool")


class ValidationError(ValueError):
    def __init__(self, title: str) -> None:
        super().__init__(f"1 validation error for {title}")
        self.title = title


ValidationError.__module__ = "pydantic_core._pydantic_core"


class MCPError(Exception):
    def __init__(self, code: int, message: str, data: Any = None) -> None:
        super().__init__(message)
        self.error = SimpleNamespace(code=code, message=message, data=data)


def caused(error: BaseException, cause: BaseException) -> BaseException:
    error.__cause__ = cause
    return error


def converted() -> BaseException:
    def convert_result() -> None:
        raise ValidationError("Weather")

    try:
        convert_result()
    except ValidationError as error:
        return error
    raise AssertionError


def tool(error: BaseException | None) -> tuple[str, str | None]:
    outcome = reasons.of_tool_error(error, None, {})
    return outcome.detail, outcome.error_type


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (None, ("tool_error", None)),
        (KeyError("k"), ("tool_error", "KeyError")),
        (ToolError("no"), ("tool_error", "ToolError")),
        (caused(ToolError("no"), KeyError("k")), ("tool_error", "KeyError")),
        (caused(UnexpectedToolError("no"), KeyError("k")), ("tool_error", "KeyError")),
        (caused(ToolError("no"), caused(Private("no"), KeyError("k"))), ("tool_error", "KeyError")),
        (ToolError("Unknown tool: x"), ("unknown_tool", None)),
        (caused(ToolError("Unknown tool: x"), ToolError("y")), ("tool_error", "ToolError")),
        (NotFoundError("Unknown tool: 'x'"), ("unknown_tool", None)),
        (caused(NotFoundError("Unknown tool: x"), NotFoundError("y")), ("unknown_tool", None)),
        (NotFoundError("no such row"), ("tool_error", "NotFoundError")),
        (RuntimeError("Unknown tool: x"), ("tool_error", "RuntimeError")),
        (caused(ToolError("bad"), ValidationError("addArguments")), ("invalid_arguments", None)),
        (ValidationError("call[add]"), ("invalid_arguments", None)),
        (caused(FastValidation("bad"), ValidationError("add")), ("invalid_arguments", None)),
        (caused(ToolError("bad"), ValidationError("Patient")), ("tool_error", "ValidationError")),
        (caused(UnexpectedToolError("bad"), converted()), ("invalid_output", None)),
        (Authorization("no"), ("denied", None)),
        (caused(ToolError("no"), InsufficientScope("no")), ("denied", None)),
        (MCPError(-32000, "Tool 'x' execution timed out after 1s"), ("timeout", None)),
        (caused(ToolError("x"), MCPError(-32000, "Tool 'x' execution timed out after 1s")), ("timeout", None)),
        (MCPError(-32000, "other"), ("tool_error", "MCPError")),
    ],
)
def test_tool_errors(error: BaseException | None, expected: tuple[str, str | None]) -> None:
    assert tool(error) == expected


def test_what_the_sdk_itself_said_wins() -> None:
    outcome = reasons.of_tool_error(KeyError("k"), "invalid_output", {})
    assert (outcome.detail, outcome.error_type) == ("invalid_output", None)
    assert outcome.error == {"type": "KeyError", "message": "'k'"}


def test_a_denial_says_by_whom() -> None:
    outcome = reasons.of_tool_error(InsufficientScope("no"), None, None)
    assert (outcome.decided_by, outcome.reason) == ("server", "InsufficientScopeError")


@pytest.mark.parametrize(
    ("result", "method", "detail", "count"),
    [
        ({}, "ping", "ok", None),
        ({"content": [1, 2]}, "tools/call", "ok", 2),
        ({"content": [1], "isError": False}, "tools/call", "ok", 1),
        ({"content": [1], "structuredContent": {"result": [1, 2, 3]}}, "tools/call", "ok", 3),
        ({"content": [1], "structuredContent": {"result": 4}}, "tools/call", "ok", 1),
        ({"contents": [1]}, "resources/read", "ok", 1),
        ({"messages": [1, 2]}, "prompts/get", "ok", 2),
        ({"tools": []}, "tools/list", "ok", 0),
        ({"isError": True, "content": []}, "tools/call", "tool_error", None),
        ({"resultType": "input_required"}, "tools/call", "input_required", None),
        ({"task": {"taskId": "1"}}, "tools/call", "task_created", None),
        ({"resultType": "task", "taskId": "1"}, "tools/call", "task_created", None),
        ({"task": {"taskId": "1"}}, "tasks/get", "ok", None),
        (
            {"content": [], "_meta": {"modelcontextprotocol.io/task": {"taskId": "1"}}},
            "tools/call",
            "task_created",
            None,
        ),
        ({"content": [], "_meta": {"modelcontextprotocol.io/task": {}}}, "tools/call", "ok", 0),
    ],
)
def test_results(result: dict[str, Any], method: str, detail: str, count: int | None) -> None:
    outcome = reasons.of_result(result, method, None, None)
    assert (outcome.detail, outcome.result_count) == (detail, count)


def test_a_caught_exception_is_no_reason_for_a_good_answer() -> None:
    assert reasons.of_result({"content": []}, "tools/call", KeyError("k"), None).detail == "ok"


@pytest.mark.parametrize(
    ("error", "method", "detail", "error_type", "status"),
    [
        (MCPError(-32601, "Method not found"), "no/such", "unknown_method", None, "-32601"),
        (MCPError(-32602, "Invalid request parameters", ""), "resources/read", "invalid_params", None, "-32602"),
        (MCPError(-32602, "Unknown resource: x", {"uri": "x"}), "resources/read", "protocol_error", "-32602", "-32602"),
        (MCPError(-32602, "Unknown tool: x"), "tools/call", "unknown_tool", None, "-32602"),
        (MCPError(-32602, "no cursor"), "tools/list", "invalid_params", None, "-32602"),
        (MCPError(-32042, "open a page"), "tools/call", "input_required", None, "-32042"),
        (MCPError(-32000, "x timed out after 1s"), "tools/call", "timeout", None, "-32000"),
        (MCPError(-32603, "no"), "prompts/get", "protocol_error", "-32603", "-32603"),
        (caused(MCPError(-32603, "no"), Authorization("no")), "resources/read", "denied", None, "-32603"),
        (ValidationError("CallToolRequest"), "tools/call", "invalid_params", None, "-32602"),
        (KeyError("k"), "tools/call", "tool_error", "KeyError", "-32603"),
        (KeyError("k"), "prompts/get", "protocol_error", "KeyError", "-32603"),
    ],
)
def test_exceptions(error: Exception, method: str, detail: str, error_type: str | None, status: str) -> None:
    outcome = reasons.of_exception(error, method, None, -32603)
    assert (outcome.detail, outcome.error_type, outcome.status_code) == (detail, error_type, status)


def test_a_low_level_handler_of_1x_that_raised() -> None:
    assert reasons.of_rpc_error(0, "'k'", None, "tools/call").detail == "tool_error"
    assert reasons.of_rpc_error(0, "'k'", None, "prompts/get").detail == "protocol_error"


def test_the_error_object_is_kept_as_it_went_out() -> None:
    outcome = reasons.of_rpc_error(-32002, "no", {"uri": "x"}, "resources/read")
    assert outcome.error == {"code": -32002, "message": "no", "data": {"uri": "x"}}


@pytest.mark.parametrize(
    ("error", "by_client", "expected"),
    [
        (asyncio.CancelledError(), True, Outcome("cancelled")),
        (asyncio.CancelledError(), False, Outcome("client_gone")),
        (kind("Cancelled", "trio", BaseException)(), True, Outcome("cancelled")),
        (SystemExit(1), True, Outcome("abandoned", error_type="SystemExit")),
        (GeneratorExit(), False, Outcome("abandoned", error_type="GeneratorExit")),
    ],
)
def test_ends_without_an_answer(error: BaseException, by_client: bool, expected: Outcome) -> None:
    assert reasons.cancelled(error, by_client) == expected


def test_a_text_that_raises_and_a_cycle_of_causes() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    error = Mute()
    error.__cause__ = KeyError("k")
    error.__cause__.__cause__ = error
    assert reasons.message_of(error) == "(an exception that raises when it is made text)"
    assert len(list(reasons.causes(error))) == 8
    assert tool(error) == ("tool_error", "Mute")


def test_messages_are_bounded() -> None:
    assert len(reasons.message_of(RuntimeError("x" * 100_000))) == 8192


def test_an_error_attribute_counts_only_on_the_sdks_exception() -> None:
    class ApiError(Exception):
        error = SimpleNamespace(code=429, message="slow down")

    class Lazy(Exception):
        @property
        def error(self) -> Any:
            raise LookupError("not loaded yet")

    class LazyRpc(MCPError):
        error = property(lambda self: 1 / 0, lambda self, value: None)

    for error in (ApiError("a"), Lazy("b"), LazyRpc(1, "c")):
        outcome = reasons.of_exception(error, "tools/call", None, 0)
        assert (outcome.detail, outcome.status_code, outcome.error_type) == ("tool_error", "0", type(error).__name__)
    assert reasons.of_exception(MCPError(429, "x"), "tools/call", None, 0).status_code == "429"
