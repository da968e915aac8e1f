# SPDX-License-Identifier: Apache-2.0
"""What the hooks of one request share while it runs: the audited call, and what hooks near the tool saw of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.instrumentation.mcp_audit.context import leave_call
from opentelemetry.instrumentation.mcp_audit.record.attributes import Detail
from opentelemetry.instrumentation.mcp_audit.record.record import Invocation, Outcome

from .exchange import dispatched

if TYPE_CHECKING:
    from weakref import ReferenceType

    from opentelemetry.trace import TracerProvider

    from opentelemetry.instrumentation.mcp_audit.auditor import AuditorSource
    from opentelemetry.instrumentation.mcp_audit.call import Call
    from opentelemetry.instrumentation.mcp_audit.record.refusal import Refusal

    # What `context.enter_call` gives.
    CallTokens = tuple[Token[Call | None], Token[Mapping[str, Any]]]

# The signature wrapt asks of a wrapper: (wrapped, instance, args, kwargs).
Wrapper = Callable[[Callable[..., Any], Any, tuple[Any, ...], dict[str, Any]], Any]


_PROBLEMS_LIMIT: Final = 100


class Switch:
    """Whether the hooks are live, and where they find the auditor.

    Wrappers outlive their removal where an SDK kept a bound method or a copied name; they ask this switch on every
    call and pass everything through when it is off.
    """

    __slots__ = ("_problem", "_told", "answers", "auditor", "on", "own_span", "tracer_provider")

    def __init__(
        self,
        auditor: AuditorSource,
        problem: Callable[[str], None],
        *,
        own_span: bool = False,
        tracer_provider: TracerProvider | None = None,
    ) -> None:
        self.auditor = auditor
        self._problem = problem
        self._told: set[str] = set()
        self.answers: dict[int, tuple[ReferenceType[Any], Call]] = {}
        """Answers on their way to the transport, by the identity of the message; see :mod:`.delivery`."""
        self.own_span = own_span
        self.tracer_provider = tracer_provider
        self.on = True

    def begin(self, invocation: Invocation) -> Call | None:
        """Start the audit of a request; None when it gets no record, or when there is no auditor to be had."""
        dispatched(invocation.scope)
        try:
            return self.auditor().begin(invocation)
        except Exception as error:  # whatever is wrong with the audit, the request is served
            self.problem(f"mcp_audit: requests are NOT audited: {type(error).__name__}")
            return None

    def refuse(self, refusal: Refusal) -> None:
        """Tell the auditor of a request that was refused before it reached any method. Never raises."""
        try:
            self.auditor().refuse(refusal)
        except Exception as error:  # as above
            self.problem(f"mcp_audit: refusals are NOT audited: {type(error).__name__}")

    def outcome(self, fallback: Detail, classify: Callable[..., Outcome], *arguments: Any) -> Outcome:
        """What ``classify`` says of how a request ended; ``fallback`` alone where it fails. Never raises.

        Classifying reads answers and exceptions of the application, whose code may raise anything.
        """
        try:
            return classify(*arguments)
        except Exception as error:
            self.problem(f"mcp_audit: how a request ended could not be told: {type(error).__name__}")
            return Outcome(fallback)

    def guarded(self, what: str, step: Callable[..., Any], *arguments: Any) -> Any:
        """What ``step`` returns; None, and a sentence, where it fails. Nothing of ours is worth a call."""
        try:
            return step(*arguments)
        except Exception as error:
            # The type alone: an exception's text may hold what the client sent.
            self.problem(f"mcp_audit: {what} failed: {type(error).__name__}")
            return None

    def problem(self, sentence: str) -> None:
        """Say what keeps requests from being audited, once: the same thing would be said again by every request."""
        if sentence not in self._told and len(self._told) < _PROBLEMS_LIMIT:
            self._told.add(sentence)
            self._problem(sentence)


class Running:
    """The request that is being handled in this context.

    ``error`` is the exception with which the outermost tool function of this request ended, ``detail`` what the SDK
    itself said of it (a schema failure); both are reasons behind an answer, never the answer. ``spanned`` is set once
    the server span of this request was seen, so that spans of nested calls are not taken for it. ``of`` is the SDK's
    object that belongs to this request (2.x) or its session (1.x): by it a middleware knows its own request again.
    """

    __slots__ = ("call", "detail", "error", "inside_tool", "method", "of", "spanned")

    def __init__(self, call: Call, method: str, of: object = None) -> None:
        self.call = call
        self.of = of
        self.method = method
        self.error: BaseException | None = None
        self.detail: Detail | None = None
        self.inside_tool = False
        self.spanned = False

    def saw(self, error: BaseException | None, detail: Detail | None = None) -> None:
        """Remember why the tool failed; the first reason that is told stays."""
        if self.error is None and self.detail is None:
            self.detail = detail
            self.error = error


async def on_disk(call: Call) -> None:
    """Wait, where the journal asks for it, until the call's record is on the disk; also if the request is cancelled now."""
    if call.on_disk is not None:
        # Loaded already by every SDK that is hooked.
        from anyio import CancelScope

        with CancelScope(shield=True):
            await call.on_disk()


UNAUDITED: Final[ContextVar[bool]] = ContextVar("mcp_audit.unaudited", default=False)
"""Whether a client's request that gets no record runs here: what it does in process was asked for over a wire."""

RUNNING: Final[ContextVar[Running | None]] = ContextVar("mcp_audit.running", default=None)


def leave_unaudited(token: Token[bool]) -> None:
    """Put back what was there before; nothing to do where a coroutine is closed in another context."""
    try:
        UNAUDITED.reset(token)
    except ValueError:
        return


def leave(token: Token[Running | None], call: CallTokens | None = None) -> None:
    """Put back what was running before.

    A coroutine that is closed unfinished at loop shutdown ends in another context; there nothing is left to restore.
    """
    try:
        if call is not None:
            leave_call(call)
        RUNNING.reset(token)
    except ValueError:
        return
