# SPDX-License-Identifier: Apache-2.0
"""Putting hooks on and taking them off, on modules made for the test (no SDK is needed or imported)."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import pytest
import wrapt

from opentelemetry.instrumentation.mcp_audit.hooks import install
from opentelemetry.instrumentation.mcp_audit.hooks.install import Hooks
from opentelemetry.instrumentation.mcp_audit.hooks.table import LOWLEVEL, ROWS, RUNNER


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Put a module with the given names into ``sys.modules``; every module of the table is absent at first."""
    for row in ROWS:
        monkeypatch.delitem(sys.modules, row.module, raising=False)

    def add(name: str, **names: Any) -> ModuleType:
        module = ModuleType(name)
        vars(module).update(names)
        monkeypatch.setitem(sys.modules, name, module)
        return module

    yield add


def states(hooks: Hooks) -> dict[str, str]:
    return {f"{state.module}:{state.attribute}": state.state for state in hooks.live()}


def fresh_runner() -> Any:
    class ServerRunner:
        async def _on_request(self, dctx: Any, method: str, params: Any) -> Any:
            return {}

    return ServerRunner


def hooks_of(problems: list[str]) -> Hooks:
    return Hooks(lambda: None, problems.append)  # type: ignore[arg-type,return-value]


def test_waits_for_modules_that_are_not_imported(modules: Any) -> None:
    problems: list[str] = []
    hooks = hooks_of(problems).install()
    assert set(states(hooks).values()) == {"waiting"}
    assert problems == []
    assert hooks.problem_free
    hooks.remove()


def test_a_module_that_is_there_is_hooked_at_once_and_left_as_it_was(modules: Any) -> None:
    runner = fresh_runner()
    modules(RUNNER, ServerRunner=runner)
    before = vars(runner)["_on_request"]
    hooks = hooks_of([]).install()
    assert isinstance(vars(runner)["_on_request"], wrapt.FunctionWrapper)
    assert states(hooks)[f"{RUNNER}:ServerRunner._on_request"] == "hooked"
    first = vars(runner)["_on_request"]
    hooks.install()
    assert vars(runner)["_on_request"] is first
    hooks.remove()
    assert vars(runner)["_on_request"] is before
    assert states(hooks)[f"{RUNNER}:ServerRunner._on_request"] == "waiting"
    hooks.install()
    assert isinstance(vars(runner)["_on_request"], wrapt.FunctionWrapper)
    assert vars(runner)["_on_request"].__wrapped__ is before
    hooks.remove()
    hooks.remove()
    assert vars(runner)["_on_request"] is before


def test_a_module_that_comes_later_is_hooked_when_it_comes(modules: Any) -> None:
    hooks = hooks_of([]).install()
    runner = fresh_runner()
    wrapt.importer.notify_module_loaded(modules(RUNNER, ServerRunner=runner))
    assert isinstance(vars(runner)["_on_request"], wrapt.FunctionWrapper)
    hooks.remove()


def test_import_hooks_are_inert_after_removal(modules: Any) -> None:
    hooks = hooks_of([]).install()
    hooks.remove()
    runner = fresh_runner()
    before = vars(runner)["_on_request"]
    hooks._imported(modules(RUNNER, ServerRunner=runner))
    assert vars(runner)["_on_request"] is before


def test_what_another_wrapped_on_top_stays_and_is_not_wrapped_twice(modules: Any) -> None:
    runner = fresh_runner()
    modules(RUNNER, ServerRunner=runner)
    hooks = hooks_of([]).install()
    ours = vars(runner)["_on_request"]
    theirs = wrapt.FunctionWrapper(ours, lambda wrapped, instance, args, kwargs: wrapped(*args, **kwargs))
    runner._on_request = theirs
    hooks.remove()
    assert vars(runner)["_on_request"] is theirs
    hooks.install()
    assert vars(runner)["_on_request"] is theirs
    assert theirs.__wrapped__ is ours
    hooks.remove()


def test_an_inherited_method_is_not_left_behind(modules: Any) -> None:
    base = fresh_runner()
    runner = type("ServerRunner", (base,), {})
    modules(RUNNER, ServerRunner=runner)
    hooks = hooks_of([]).install()
    assert "_on_request" in vars(runner)
    hooks.remove()
    assert "_on_request" not in vars(runner)


def test_v1_is_told_by_its_feature(modules: Any) -> None:
    class Server:
        async def _handle_request(self) -> None: ...
        def _make_error_result(self, error_message: str) -> None: ...

    problems: list[str] = []
    modules(LOWLEVEL, Server=Server)
    hooks = hooks_of(problems).install()
    found = states(hooks)
    assert found[f"{LOWLEVEL}:Server._handle_request"] == "hooked"
    assert found[f"{LOWLEVEL}:Server._make_error_result"] == "hooked"
    assert problems == []
    hooks.remove()


def test_v2_has_a_low_level_module_without_dispatch(modules: Any) -> None:
    problems: list[str] = []
    modules(RUNNER, ServerRunner=fresh_runner())
    modules(LOWLEVEL, Server=type("Server", (), {}))
    hooks = hooks_of(problems).install()
    assert problems == []
    assert hooks.problem_free
    hooks.remove()


def test_an_sdk_with_neither_is_said_aloud(modules: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "exists", lambda module: False)
    problems: list[str] = []
    modules(LOWLEVEL, Server=type("Server", (), {}))
    hooks = hooks_of(problems).install()
    assert problems == [
        "mcp_audit: requests are NOT audited: mcp.server.lowlevel.server has no Server._handle_request and there is no "
        "module mcp.server.runner. This version of the MCP SDK is too old or has changed; see the supported versions of "
        "opentelemetry-instrumentation-mcp-audit."
    ]
    assert not hooks.problem_free
    assert states(hooks)[f"{LOWLEVEL}:Server._handle_request"] == "missing"
    hooks.remove()


def test_a_changed_v2_is_said_aloud(modules: Any) -> None:
    problems: list[str] = []
    modules(RUNNER, ServerRunner=type("ServerRunner", (), {}))
    hooks = hooks_of(problems).install()
    assert len(problems) == 1
    assert "mcp.server.runner has no ServerRunner._on_request" in problems[0]
    hooks.remove()


def test_a_class_without_its_own_call_is_not_wrapped(modules: Any) -> None:
    middleware = type("OpenTelemetryMiddleware", (), {})
    modules("mcp.server._otel", OpenTelemetryMiddleware=middleware)
    hooks = hooks_of([]).install()
    assert "__call__" not in vars(middleware)
    hooks.remove()


def test_copies_of_a_function_are_changed_too_and_back(modules: Any) -> None:
    def stdio_server() -> None: ...

    modules("mcp.server.stdio", stdio_server=stdio_server)
    user = modules("some_server", stdio_server=stdio_server)
    other = modules("another_server", stdio_server=len)
    hooks = hooks_of([]).install()
    assert user.stdio_server is not stdio_server
    assert other.stdio_server is len
    hooks.remove()
    assert user.stdio_server is stdio_server


def test_installing_imports_no_sdk() -> None:
    code = (
        "import sys\n"
        "from opentelemetry.instrumentation.mcp_audit.hooks.install import Hooks\n"
        "Hooks(lambda: None, print).install()\n"
        "found = {'mcp', 'fastmcp', 'pydantic', 'starlette', 'mcp_types', 'anyio'} & set(sys.modules)\n"
        "assert not found, found\n"
        "late = [name for name in sys.modules if name.startswith('opentelemetry.sdk')]\n"
        "assert not late, late\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True).stderr == ""


def test_a_module_whose_import_has_begun_is_hooked_when_it_is_done(modules: Any) -> None:
    problems: list[str] = []
    module = modules(RUNNER)
    module.__spec__ = ModuleSpec(RUNNER, None)
    module.__spec__._initializing = True  # type: ignore[attr-defined]
    hooks = hooks_of(problems).install()
    assert problems == []
    assert states(hooks)[f"{RUNNER}:ServerRunner._on_request"] == "waiting"
    runner = module.ServerRunner = fresh_runner()
    module.__spec__._initializing = False  # type: ignore[attr-defined]
    for thread in threading.enumerate():
        if thread.name == "mcp_audit-import":
            thread.join(10)
    assert isinstance(vars(runner)["_on_request"], wrapt.FunctionWrapper)
    assert problems == []
    hooks.remove()


def test_an_import_hook_hears_of_a_module_that_still_says_it_is_initialising(modules: Any) -> None:
    problems: list[str] = []
    hooks = hooks_of(problems).install()
    module = modules(RUNNER)
    module.__spec__ = ModuleSpec(RUNNER, None)
    module.__spec__._initializing = True  # type: ignore[attr-defined]
    wrapt.importer.notify_module_loaded(module)
    assert len(problems) == 1
    hooks.remove()


def test_import_hooks_are_registered_outside_the_lock(modules: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    free: list[bool] = []
    hooks = hooks_of([])

    def register(hook: Any, name: str) -> None:
        def other_thread() -> None:
            free.append(hooks._lock.acquire(blocking=False))
            if free[-1]:
                hooks._lock.release()

        thread = threading.Thread(target=other_thread)
        thread.start()
        thread.join()

    monkeypatch.setattr(wrapt, "register_post_import_hook", register)
    hooks.install()
    assert set(free) == {True}
    assert len(free) == len({row.module for row in ROWS if not row.client})
    hooks.remove()
