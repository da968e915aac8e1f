# SPDX-License-Identifier: Apache-2.0
"""From what a request returned or raised to its :class:`Outcome`: pure functions that know the SDKs' shapes by name.

No SDK is imported: classes are told by the names in their method resolution order, so that the same code reads mcp
1.x, mcp 2.x and every fastmcp. All of this but the happy path runs for failed calls only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, TypeGuard

from opentelemetry.instrumentation.mcp_audit.record.attributes import Detail
from opentelemetry.instrumentation.mcp_audit.record.polled import TASK_META
from opentelemetry.instrumentation.mcp_audit.record.record import Outcome

METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
INTERNAL_ERROR: Final = -32603
# The server asks the user to open a page first, then to call again (MCP 2025-11-25, URL mode elicitation).
URL_ELICITATION_REQUIRED: Final = -32042
# fastmcp reports its own tool timeout under this code with a fixed phrase.
SERVER_ERROR: Final = -32000
_TIMED_OUT: Final = "timed out after"
# What both SDK generations answer when params do not fit the method's schema.
_INVALID_REQUEST_PARAMETERS: Final = "Invalid request parameters"

# An exception's text may be as long as its argument; it is content, and bounded again by the record.
_MESSAGE_LIMIT: Final = 8192
_NO_TEXT: Final = "(an exception that raises when it is made text)"
_CAUSES_LIMIT: Final = 8

_COUNTED: Final = ("content", "contents", "messages", "tools", "resources", "resourceTemplates", "prompts", "tasks")


def is_mapping(value: Any) -> TypeGuard[Mapping[str, Any]]:
    """``isinstance(value, Mapping)``, without the price of an abstract class for what it nearly always is."""
    return type(value) is dict or isinstance(value, Mapping)


def is_cancellation(error: BaseException) -> bool:
    """Whether ``error`` is how asyncio or trio takes a task down."""
    # Here and not above: a process that serves nothing must not pay for it.
    from asyncio import CancelledError

    return isinstance(error, CancelledError) or type(error).__name__ == "Cancelled"


def cancelled(error: BaseException, by_client: bool) -> Outcome:
    """The outcome of a request that ended without an answer because its task was taken down."""
    if is_cancellation(error):
        return Outcome("cancelled" if by_client else "client_gone")
    # SystemExit, KeyboardInterrupt, a coroutine closed unfinished: the process is leaving, not the client.
    return Outcome("abandoned", error_type=type(error).__name__)


def of_result(result: Any, method: str, error: BaseException | None, detail: Detail | None) -> Outcome:
    """The outcome of an answer in wire form (a mapping with the protocol's camelCase names).

    ``error`` and ``detail`` are what hooks near the tool saw; they explain an answer that says ``isError``, and mean
    nothing for one that does not.
    """
    if not is_mapping(result):
        return Outcome("ok")
    kind = result.get("resultType")
    if kind == "input_required":
        return Outcome("input_required", result=result)
    if result.get("isError") is True:
        return of_tool_error(error, detail, result)
    if isinstance(result.get("task"), Mapping) or kind == "task":
        return Outcome("task_created" if method == "tools/call" else "ok", result=result)
    if is_task_stub(result.get("_meta")):
        return Outcome("task_created", result=result)
    return Outcome("ok", result=result, result_count=count(result))


def is_task_stub(meta: Any) -> bool:
    """Whether an answer's ``_meta`` says that a task was made: so fastmcp 2.14 does, by an empty result of the method."""
    task = meta.get(TASK_META) if is_mapping(meta) else None
    return is_mapping(task) and "taskId" in task


def count(result: Mapping[str, Any]) -> int | None:
    """How many things the answer holds: structured rows where there are any, else content blocks or listed items."""
    structured = result.get("structuredContent")
    if is_mapping(structured):
        rows = structured.get("result")
        if isinstance(rows, list):
            return len(rows)
    for name in _COUNTED:
        items = result.get(name)
        if isinstance(items, list):
            return len(items)
    return None


def of_tool_error(error: BaseException | None, detail: Detail | None, result: Any) -> Outcome:
    """The outcome of an ``isError`` answer, with the reason where one is known."""
    if error is None:
        return Outcome(detail or "tool_error", result=result)
    why, cause = reason(error)
    if detail is not None:
        why = detail
    return _told(why, cause, result)


def _told(why: Detail, cause: BaseException, result: Any = None) -> Outcome:
    described = {"type": type(cause).__name__, "message": message_of(cause)}
    if why == "tool_error":
        return Outcome(why, error_type=type(cause).__name__, result=result, error=described)
    if why == "denied":
        return Outcome(why, result=result, error=described, decided_by="server", reason=type(cause).__name__)
    return Outcome(why, result=result, error=described)


def of_exception(error: Exception, method: str, seen: BaseException | None, unmapped_code: int) -> Outcome:
    """The outcome of a request that the server answers with a JSON-RPC error because its handler raised ``error``.

    ``unmapped_code`` is the code that the transport gives to exceptions that are no protocol errors.
    """
    rpc = _rpc_error(error)
    if rpc is not None:
        return of_rpc_error(*rpc, method, error)
    if _is_pydantic_error(error):
        # Raised by the dispatch, before any handler: the SDK answers it with this code and no detail.
        if seen is None or seen is not error:
            return Outcome(
                "invalid_params",
                status_code=str(INVALID_PARAMS),
                error={"code": INVALID_PARAMS, "message": message_of(error)},
            )
    why, cause = reason(error)
    if method != "tools/call" and why != "denied":
        why = "protocol_error"
    outcome = _told(why, cause)
    outcome.status_code = str(unmapped_code)
    if why == "protocol_error":
        outcome.error_type = type(cause).__name__
    return outcome


def of_rpc_error(code: int, message: str, data: Any, method: str, error: BaseException | None = None) -> Outcome:
    """The outcome of a JSON-RPC error answer with this ``code``; ``error`` is the exception behind it, if known."""
    why: Detail = "protocol_error"
    decided: BaseException | None = None
    if error is not None:
        decided = next((e for e in causes(error) if "AuthorizationError" in _names(e)), None)
    if decided is not None:
        why = "denied"
    elif code == METHOD_NOT_FOUND:
        why = "unknown_method"
    elif code == URL_ELICITATION_REQUIRED:
        why = "input_required"
    elif code == SERVER_ERROR and _TIMED_OUT in message:
        why = "timeout"
    elif code == INVALID_PARAMS:
        if method == "tools/call" and message.startswith("Unknown tool"):
            why = "unknown_tool"
        elif message == _INVALID_REQUEST_PARAMETERS or method not in ("resources/read", "prompts/get"):
            why = "invalid_params"
        # Otherwise the code says that the named resource or prompt does not exist: a plain protocol error.
    elif code == 0 and method == "tools/call":
        # mcp 1.x and the 2.x handshake era answer so when a handler of a low-level server raised.
        why = "tool_error"
    described: dict[str, Any] = {"code": code, "message": message[:_MESSAGE_LIMIT]}
    if data is not None and data != "":
        described["data"] = data
    return Outcome(
        why,
        error_type=str(code) if why == "protocol_error" else None,
        status_code=str(code),
        error=described,
        decided_by="server" if decided is not None else None,
        reason=type(decided).__name__ if decided is not None else None,
    )


def reason(error: BaseException) -> tuple[Detail, BaseException]:
    """Why a tool failed, and the exception that says so best (the cause, where the SDK only wrapped it)."""
    wrapped = error.__cause__
    for each in causes(error):
        names = _names(each)
        if "AuthorizationError" in names:
            return "denied", each
        rpc = _rpc_error(each)
        if rpc is not None and rpc[0] == SERVER_ERROR and _TIMED_OUT in rpc[1]:
            return "timeout", each
    if _says_unknown_tool(error):
        return "unknown_tool", error
    cause = wrapped if wrapped is not None and _is_wrapper(error) else error
    if cause.__cause__ is not None and _is_private_to_fastmcp(cause):
        cause = cause.__cause__
    if _is_pydantic_error(cause):
        if _raised_in(cause, "convert_result"):
            return "invalid_output", cause
        if _is_arguments_error(cause) or _is_fastmcp_validation(error):
            return "invalid_arguments", cause
    return "tool_error", cause


def causes(error: BaseException) -> Iterator[BaseException]:
    """``error`` and what it was raised from, bounded (a chain can be a cycle)."""
    at: BaseException | None = error
    for _ in range(_CAUSES_LIMIT):
        if at is None:
            return
        yield at
        at = at.__cause__


def message_of(error: BaseException) -> str:
    """The exception's text, bounded; of one whose ``__str__`` itself raises, that it has none."""
    try:
        # jsonschema's text holds the whole schema and instance; its `message` says what is wrong.
        told = getattr(error, "message", None) if type(error).__module__.startswith("jsonschema") else None
        return str(error if told is None else told)[:_MESSAGE_LIMIT]
    except Exception:
        # Foreign code: the record is made all the same, with the exception's type beside this.
        return _NO_TEXT


def says_error(result: Any) -> bool:
    """Whether a result's model says that the tool failed, under the name that its generation has for it."""
    # Asked of one name alone: fastmcp 4 warns of the old one.
    return getattr(result, "is_error" if hasattr(result, "is_error") else "isError", None) is True


def is_rpc_error(error: BaseException) -> bool:
    """Whether the SDK answers this exception with the JSON-RPC error that it carries."""
    return _rpc_error(error) is not None


def _rpc_error(error: BaseException) -> tuple[int, str, Any] | None:
    """Code, message and data of the JSON-RPC error that an exception of the SDK's carries.

    Any other class may have an ``error`` too: somebody else's code, of another protocol, or a property that raises.
    """
    names = _names(error)
    if "McpError" not in names and "MCPError" not in names:
        return None
    try:
        rpc = getattr(error, "error", None)
        code, message, data = getattr(rpc, "code", None), str(getattr(rpc, "message", "")), getattr(rpc, "data", None)
    except Exception:  # of a subclass of the application's
        return None
    return (code, message, data) if isinstance(code, int) else None


def _names(error: BaseException) -> list[str]:
    return [kind.__name__ for kind in type(error).__mro__]


def _is_pydantic_error(error: BaseException) -> bool:
    kind = type(error)
    return kind.__name__ == "ValidationError" and kind.__module__.startswith("pydantic")


def _is_fastmcp_validation(error: BaseException) -> bool:
    kind = type(error)
    return kind.__name__ == "ValidationError" and kind.__module__.startswith("fastmcp")


def _is_wrapper(error: BaseException) -> bool:
    """Whether the SDK made this exception only to carry its cause."""
    return "ToolError" in _names(error) or _is_fastmcp_validation(error)


def _is_private_to_fastmcp(error: BaseException) -> bool:
    """Whether this is a class that fastmcp 4 puts between a tool's own exception and what it raises for it."""
    kind = type(error)
    return kind.__name__.startswith("_") and kind.__module__.startswith("fastmcp")


def _is_arguments_error(error: BaseException) -> bool:
    # The SDKs validate arguments against a model named `<function>Arguments`, fastmcp against the call itself; a
    # validation error of any other model was raised by the tool's own work.
    # Asked only of pydantic's own class, whose attributes run no code of the application's.
    title = str(getattr(error, "title", ""))
    return title.endswith("Arguments") or title.startswith("call[")


def _says_unknown_tool(error: BaseException) -> bool:
    names = _names(error)
    if "NotFoundError" in names or ("ToolError" in names and error.__cause__ is None):
        return message_of(error).startswith("Unknown tool")
    return False


def _raised_in(error: BaseException, function: str) -> bool:
    """Whether a frame of this function name is on the way from where ``error`` was caught to where it was raised."""
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_name == function:
            return True
        trace = trace.tb_next
    return False
