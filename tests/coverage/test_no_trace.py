# SPDX-License-Identifier: Apache-2.0
"""Instrumented, uninstrumented, instrumented again: the SDK is as it was, and each request still has one record."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import pytest
import stack

from opentelemetry.instrumentation.mcp_audit.hooks.install import Hooks
from opentelemetry.instrumentation.mcp_audit.hooks.table import ROWS
from opentelemetry.instrumentation.mcp_audit.testing import capture_audit

pytestmark = pytest.mark.timeout(60)


def wrapped_attributes() -> dict[str, Any]:
    """Every attribute of the table that this stack has, as it stands in its class or module."""
    found: dict[str, Any] = {}
    for row in ROWS:
        module = sys.modules.get(row.module)
        if module is None:
            continue
        owner: Any = module
        *path, name = row.attribute.split(".")
        for part in path:
            owner = getattr(owner, part, None)
        if owner is not None:
            found[f"{row.module}:{row.attribute}"] = vars(owner).get(name)
    return found


def copies(name: str) -> dict[str, Any]:
    """Every module-level name ``name`` in the SDKs' loaded modules (the copies that imports make)."""
    return {
        module: vars(loaded)[name]
        for module, loaded in list(sys.modules.items())
        if module.split(".")[0] in ("mcp", "fastmcp") and name in vars(loaded)
    }


def test_the_sdk_is_as_before() -> None:
    stack.server()
    for module in ("mcp.server.stdio", "mcp.server.sse", "mcp.server.streamable_http"):
        importlib.import_module(module)
    before, stdio_before = wrapped_attributes(), copies("stdio_server")
    problems: list[str] = []
    hooks = Hooks(lambda: None, problems.append)  # type: ignore[arg-type,return-value]
    needed = (
        "mcp.server.runner:ServerRunner._on_request"
        if stack.V2
        else "mcp.server.lowlevel.server:Server._handle_request"
    )
    try:
        for _ in range(2):
            hooks.install()
            hooks.install()
            during, stdio_during = wrapped_attributes(), copies("stdio_server")
            assert during[needed] is not before[needed]
            assert all(stdio_during[module] is not stdio_before[module] for module in stdio_before)
            hooks.remove()
            after, stdio_after = wrapped_attributes(), copies("stdio_server")
            assert [name for name in before if after[name] is not before[name]] == []
            assert [module for module in stdio_before if stdio_after[module] is not stdio_before[module]] == []
    finally:
        hooks.remove()
    assert problems == []


async def test_one_record_after_each_installation() -> None:
    server = stack.server()
    for _ in range(3):
        with capture_audit() as audit:
            async with stack.in_memory(server) as caller:
                await caller.tool("add", {"a": 1, "b": 2})
        assert len(audit.outcomes()) == 1
        async with stack.in_memory(server) as caller:
            await caller.tool("add", {"a": 1, "b": 2})
        assert len(audit.outcomes()) == 1


async def test_a_connection_made_before_is_left_alone_after_removal() -> None:
    async with stack.in_memory(stack.server()) as caller:
        with capture_audit() as audit:
            await caller.tool("add", {"a": 1, "b": 2})
        await caller.tool("add", {"a": 1, "b": 2})
        assert len(audit.outcomes()) <= 1


@pytest.mark.parametrize("kind", ["needed"])
def test_the_needed_hook_of_this_stack_is_live(kind: str) -> None:
    stack.server()
    hooks = Hooks(lambda: None, lambda problem: pytest.fail(problem)).install()  # type: ignore[arg-type,return-value]
    try:
        states = {(state.module, state.attribute): state.state for state in hooks.live()}
        v2 = states[("mcp.server.runner", "ServerRunner._on_request")]
        v1 = states[("mcp.server.lowlevel.server", "Server._handle_request")]
        assert (v2, v1) == (("hooked", "waiting") if stack.V2 else ("waiting", "hooked"))
        assert hooks.problem_free
    finally:
        hooks.remove()
    assert {state.state for state in hooks.live()} <= {"waiting"}
