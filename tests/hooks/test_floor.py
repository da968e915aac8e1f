# SPDX-License-Identifier: Apache-2.0
"""The floor as a comparison, and hooks that stay off below it (a made-up version; tests/floor has real old SDKs)."""

from __future__ import annotations

import sys
from importlib import metadata
from types import ModuleType
from typing import Any

import pytest

from opentelemetry.instrumentation.mcp_audit.hooks import floor
from opentelemetry.instrumentation.mcp_audit.hooks.install import Hooks
from opentelemetry.instrumentation.mcp_audit.hooks.table import LOWLEVEL


@pytest.mark.parametrize("version", ["0.9.1", "1.0", "1.12.3", "1.23.3", "1.23.99rc1"])
def test_below(version: str) -> None:
    assert floor.is_below(version)


@pytest.mark.parametrize("version", ["1.24", "1.24.0", "1.24.0rc1", "1.100.0", "2.0.1", "2.3.0", "3.0", "", "main"])
def test_not_below(version: str) -> None:
    assert not floor.is_below(version)


def test_a_copy_without_metadata_is_judged_by_its_features(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", unknown)
    assert floor.below_floor() is None


def test_an_old_sdk_is_left_as_it_is_and_named_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Server:
        async def _handle_request(self, *args: Any) -> None:
            """As in mcp 1.x."""

    module = ModuleType(LOWLEVEL)
    vars(module)["Server"] = Server
    monkeypatch.setitem(sys.modules, LOWLEVEL, module)
    monkeypatch.setattr(metadata, "version", lambda name: {"mcp": "1.23.3"}[name])
    before, problems = Server._handle_request, list[str]()
    hooks = Hooks(lambda: None, problems.append)  # type: ignore[arg-type,return-value]
    hooks.install()
    hooks.install()
    assert Server._handle_request is before
    assert problems == [f"mcp_audit: {floor.sentence('1.23.3')}"]
    assert not hooks.problem_free
    hooks.remove()
