# SPDX-License-Identifier: Apache-2.0
"""What is wrapped in the MCP SDKs, one row each, and how it is put on and taken off.

Nothing of an SDK is imported here: each row waits for its module with a post-import hook, and which generation of the
SDK is there is told by its features, never by its version.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.machinery import PathFinder
from threading import RLock, Thread
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, Literal

import wrapt

from . import floor
from .running import Switch, Wrapper

if TYPE_CHECKING:
    from opentelemetry.trace import TracerProvider

    from opentelemetry.instrumentation.mcp_audit.auditor import AuditorSource

Stack = Literal["mcp 2.x", "mcp 1.x", "mcp", "fastmcp"]
State = Literal["hooked", "waiting", "missing"]


@dataclass(frozen=True, slots=True)
class Row:
    """One wrapped thing.

    ``needed``: without it requests of this stack would go unaudited, which is said aloud. ``copied``: a function that
    other modules import by name; there the name is changed too. ``client``: put on only where the caller's view is
    asked for.
    """

    module: str
    attribute: str
    wrapper: Callable[[Switch], Wrapper]
    stack: Stack
    needed: bool = False
    copied: bool = False
    client: bool = False


RUNNER: Final = "mcp.server.runner"
LOWLEVEL: Final = "mcp.server.lowlevel.server"
DISPATCHER: Final = "mcp.shared.jsonrpc_dispatcher"

AUTH: Final = "mcp.server.auth.middleware.bearer_auth"
MANAGER: Final = "mcp.server.streamable_http_manager"
MODERN: Final = "mcp.server._streamable_http_modern"
TRANSPORT: Final = "mcp.server.streamable_http"
SESSION: Final = "mcp.server.session"

# How often, in seconds, an import that had begun before the hooks were put on is asked whether it has ended.
_POLL: Final = 0.002


def _from(module: str, name: str) -> Callable[[Switch], Wrapper]:
    """A wrapper of one of our modules, which is imported when its hook is put on: most processes need few of them."""

    def made(switch: Switch) -> Wrapper:
        wrapper: Wrapper = getattr(importlib.import_module(f".{module}", __package__), name)(switch)
        return wrapper

    return made


def _both(outer: Callable[[Switch], Wrapper], inner: Callable[[Switch], Wrapper]) -> Callable[[Switch], Wrapper]:
    """Two wrappers of one thing: it is put on and taken off as one."""

    def made(switch: Switch) -> Wrapper:
        outside, inside = outer(switch), inner(switch)

        def both(wrapped: Callable[..., Any], instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            return outside(lambda *args_, **kwargs_: inside(wrapped, instance, args_, kwargs_), instance, args, kwargs)

        return both

    return made


def _refusals(tap: str) -> Callable[[Switch], Wrapper]:
    return _from("refusals_http", tap)


ROWS: Final[tuple[Row, ...]] = (
    Row(RUNNER, "ServerRunner._on_request", _from("mcp_v2", "on_request"), "mcp 2.x", needed=True),
    Row(LOWLEVEL, "Server._handle_request", _from("mcp_v1", "handle_request"), "mcp 1.x", needed=True),
    Row("mcp.server._otel", "OpenTelemetryMiddleware.__call__", _from("mcp_v2", "server_span"), "mcp 2.x"),
    Row("mcp.server.mcpserver.server", "MCPServer.call_tool", _from("fastmcp", "call_tool"), "mcp 2.x"),
    Row(LOWLEVEL, "Server._make_error_result", _from("mcp_v1", "make_error_result"), "mcp 1.x"),
    Row("mcp.server.stdio", "stdio_server", _from("stdio", "stdio_server"), "mcp", copied=True),
    Row(
        TRANSPORT,
        "StreamableHTTPServerTransport.handle_request",
        _both(_refusals("transport"), _from("http", "asgi_entry")),
        "mcp",
    ),
    Row(
        "mcp.server.sse",
        "SseServerTransport.handle_post_message",
        _both(_refusals("sse_post"), _from("http", "asgi_entry")),
        "mcp",
    ),
    Row("mcp.server.sse", "SseServerTransport.connect_sse", _refusals("sse_connect"), "mcp"),
    Row(AUTH, "RequireAuthMiddleware.__call__", _refusals("auth"), "mcp"),
    Row(MANAGER, "StreamableHTTPASGIApp.__call__", _refusals("transport"), "mcp 2.x"),
    Row(MANAGER, "StreamableHTTPSessionManager.handle_request", _refusals("transport"), "mcp"),
    Row(MANAGER, "StreamableHTTPSessionManager._handle_stateful_request", _refusals("stateful"), "mcp"),
    Row("mcp.server.transport_security", "RequestBodyLimitMiddleware.__call__", _refusals("body_limit"), "mcp"),
    Row(MODERN, "handle_modern_request", _refusals("modern"), "mcp 2.x", copied=True),
    Row(SESSION, "ServerSession._receive_loop", _from("wire_v1", "receive_loop"), "mcp 1.x"),
    Row(DISPATCHER, "JSONRPCDispatcher._handle_request", _from("wire_v2", "handle_request"), "mcp 2.x"),
    Row(DISPATCHER, "JSONRPCDispatcher._write", _from("wire_v2", "write"), "mcp 2.x"),
    Row(SESSION, "ServerSession.send_request", _from("asked", "send_request"), "mcp"),
    Row(TRANSPORT, "StreamableHTTPServerTransport._create_event_data", _from("delivery", "as_text"), "mcp"),
    Row(TRANSPORT, "StreamableHTTPServerTransport._create_json_response", _from("delivery", "as_text"), "mcp"),
    Row("mcp.server.fastmcp.server", "FastMCP.call_tool", _from("fastmcp", "call_tool"), "mcp 1.x"),
    Row("fastmcp.server.low_level", "FastMCPServerMiddleware.__call__", _from("mcp_v2", "server_span"), "fastmcp"),
    Row("fastmcp.server.server", "FastMCP.call_tool", _from("fastmcp", "call_tool"), "fastmcp"),
    Row("fastmcp.server.server", "server_span", _from("fastmcp", "server_span"), "fastmcp"),
    Row("fastmcp.server.auth.middleware", "RequireAuthMiddleware.__call__", _refusals("auth"), "fastmcp"),
    Row("fastmcp.server.http", "HostOriginGuardMiddleware.__call__", _refusals("guard"), "fastmcp"),
    Row(
        "mcp.client.session",
        "ClientSession.send_request",
        _from("client", "send_request"),
        "mcp",
        needed=True,
        client=True,
    ),
    Row(DISPATCHER, "inject_trace_context", _from("client", "inject_trace_context"), "mcp 2.x", client=True),
)


@dataclass(frozen=True, slots=True)
class HookState:
    """How one row stands: ``hooked``, ``waiting`` for its module to be imported, ``missing`` from it."""

    module: str
    attribute: str
    stack: Stack
    state: State
    needed: bool


@dataclass(slots=True)
class _Patch:
    row: Row
    owner: Any
    name: str
    original: Any
    wrapper: Any
    own: bool


class Hooks:
    """The hooks of one instrumentation: :meth:`install`, :meth:`remove`, and again, as often as wanted.

    ``source`` gives the auditor in force, asked anew for every request. ``on_problem`` gets one clear sentence for
    each thing that keeps requests from being audited. ``own_span``: mcp 1.x gets a SERVER span made here, by
    ``tracer_provider`` or the global one. ``client``: what this process's MCP clients ask is recorded too.
    """

    def __init__(
        self,
        source: AuditorSource,
        on_problem: Callable[[str], None],
        *,
        own_span: bool = False,
        client: bool = False,
        tracer_provider: TracerProvider | None = None,
    ) -> None:
        self._switch = Switch(source, on_problem, own_span=own_span, tracer_provider=tracer_provider)
        self._switch.on = False
        self._rows = tuple(row for row in ROWS if client or not row.client)
        self._waiting: set[str] = set()
        self._patches: dict[tuple[str, str], _Patch] = {}
        self._missing: set[tuple[str, str]] = set()
        # Imports happen on any thread.
        self._lock = RLock()

    @property
    def problem_free(self) -> bool:
        """False when a module that must be hooked was imported and could not be."""
        return not any(row.needed and (row.module, row.attribute) in self._missing for row in self._rows)

    def install(self) -> Hooks:
        """Wrap what is imported already, and wait for the rest. Does nothing where it is done."""
        with self._lock:
            self._switch.on = True
            modules = list(dict.fromkeys(row.module for row in self._rows))
            new = [module for module in modules if module not in self._waiting]
            self._waiting.update(new)
        # Not under our lock: wrapt 1.x calls import hooks under its own, and they want ours.
        for module in modules:
            loaded = sys.modules.get(module)
            if module in new:
                self._register(module)
            elif loaded is not None:
                self._imported(loaded, whole=False)
        return self

    def _register(self, module: str) -> None:
        """Have ``module`` hooked now if it is imported, else when it is.

        An import hook cannot be taken back; ours asks whether it is still wanted.
        """
        registering = True

        def imported(loaded: ModuleType) -> None:
            # Called at once it may be given a module whose import has only begun; called later, never.
            self._imported(loaded, whole=not registering)

        wrapt.register_post_import_hook(imported, module)
        registering = False

    def _await(self, module: ModuleType) -> None:
        """Hook a module whose import had begun before we came: no import hook is called for it any more."""
        while _is_initialising(module):
            time.sleep(_POLL)
        with self._lock:
            # Where the import failed there is nothing to hook, and the next attempt has to be awaited anew.
            self._waiting.discard(module.__name__)
            if not self._switch.on:
                return
            self._waiting.add(module.__name__)
        self._register(module.__name__)

    def remove(self) -> None:
        """Take every wrapper off, leaving the SDK's classes as they were, and make the import hooks inert."""
        with self._lock:
            self._switch.on = False
            self._missing.clear()
            for key, patch in list(self._patches.items()):
                if _unwrap(patch):
                    del self._patches[key]

    def live(self) -> list[HookState]:
        """Every row and how it stands, for ``doctor``."""
        return [HookState(row.module, row.attribute, row.stack, self._state(row), row.needed) for row in self._rows]

    def _state(self, row: Row) -> State:
        key = (row.module, row.attribute)
        if key in self._missing:
            return "missing"
        return "hooked" if key in self._patches and self._switch.on else "waiting"

    def _imported(self, module: ModuleType, *, whole: bool = True) -> None:
        # Python says `_initializing` of a module until after the import hooks, so that it tells nothing to those.
        partial = not whole and _is_initialising(module)
        with self._lock:
            if not self._switch.on:
                return
            self._wrap(module, partial)
        if partial:
            Thread(target=self._await, args=(module,), name="mcp_audit-import", daemon=True).start()

    def _wrap(self, module: ModuleType, partial: bool) -> None:
        """Wrap what is in the module; of one that is ``partial`` nothing is missing yet."""
        too_old = floor.below_floor()
        if too_old is not None:
            self._refuse(module.__name__, too_old)
            return
        for row in self._rows:
            if row.module != module.__name__:
                continue
            key = (row.module, row.attribute)
            if key in self._patches:
                # Still on from before a remove() that found another wrapper on top of it; live again by the switch.
                continue
            try:
                patch = _put_on(module, row, self._switch)
            except AttributeError:
                if not partial:
                    self._absent(row)
                continue
            self._patches[key] = patch
            self._missing.discard(key)

    def _refuse(self, module: str, version: str) -> None:
        """Leave the modules of an SDK below the floor as they are, and say so where a hook is needed."""
        rows = [row for row in ROWS if row.module == module]
        self._missing.update((row.module, row.attribute) for row in rows)
        if any(row.needed for row in rows):
            self._switch.problem(f"mcp_audit: {floor.sentence(version)}")

    def _absent(self, row: Row) -> None:
        """A row's attribute is not in its module: expected between generations, loud where nothing else covers it."""
        if not row.needed:
            return
        if row.module == LOWLEVEL and _exists(RUNNER):
            # mcp 2.x: its low-level server is only a registry, requests pass the runner.
            return
        self._missing.add((row.module, row.attribute))
        other = f" and there is no module {RUNNER}" if row.module == LOWLEVEL else ""
        self._switch.problem(
            f"mcp_audit: requests are NOT audited: {row.module} has no {row.attribute}{other}. "
            "This version of the MCP SDK is too old or has changed; "
            "see the supported versions of opentelemetry-instrumentation-mcp-audit."
        )


def install(
    source: AuditorSource,
    on_problem: Callable[[str], None],
    *,
    own_span: bool = False,
    tracer_provider: TracerProvider | None = None,
) -> Hooks:
    """Make the hooks and put them on."""
    return Hooks(source, on_problem, own_span=own_span, tracer_provider=tracer_provider).install()


def _exists(module: str) -> bool:
    if module in sys.modules:
        return True
    parent = sys.modules.get(module.rpartition(".")[0])
    # Looked for in the package itself where that is imported: `find_spec` by name waits for an import that another
    # thread is at, which may be waiting for us.
    if parent is not None and PathFinder.find_spec(module, getattr(parent, "__path__", None)) is not None:
        return True
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _is_initialising(module: ModuleType) -> bool:
    """Whether the module's own code is still running. The name is Python's, private, and all there is."""
    return bool(getattr(getattr(module, "__spec__", None), "_initializing", False))


def _put_on(module: ModuleType, row: Row, switch: Switch) -> _Patch:
    """Wrap one attribute. AttributeError when it is not there."""
    owner: Any = module
    *path, name = row.attribute.split(".")
    for part in path:
        owner = getattr(owner, part)
    own = name in vars(owner)
    if not own and name.startswith("__"):
        # Every object has a `__call__` of some kind; only the class's own is the one meant.
        raise AttributeError(row.attribute)
    original = vars(owner)[name] if own else getattr(owner, name)
    wrapper = wrapt.FunctionWrapper(original, row.wrapper(switch))
    setattr(owner, name, wrapper)
    if row.copied:
        _rename(name, original, wrapper)
    return _Patch(row, owner, name, original, wrapper, own)


def _unwrap(patch: _Patch) -> bool:
    """Put the original back; False when somebody else wrapped ours and it has to stay, inert."""
    if vars(patch.owner).get(patch.name) is not patch.wrapper:
        return False
    if patch.own:
        setattr(patch.owner, patch.name, patch.original)
    else:
        delattr(patch.owner, patch.name)
    if patch.row.copied:
        _rename(patch.name, patch.wrapper, patch.original)
    return True


def _rename(name: str, old: Any, new: Any) -> None:
    """Change what ``from … import name`` copied into modules that are loaded already."""
    for module in list(sys.modules.values()):
        names = getattr(module, "__dict__", None)
        if isinstance(names, dict) and names.get(name) is old:
            names[name] = new
