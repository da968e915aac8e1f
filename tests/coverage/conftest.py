# SPDX-License-Identifier: Apache-2.0
"""Makes the helpers beside these tests importable, and writes the matrix's cells of this stack where it is asked to.

``MCP_AUDIT_COVERAGE_CELLS=FILE``: a JSON object with the stack's name, its packages, and how each cell ended. With
``--collect-only`` the cells without their endings.
"""

from __future__ import annotations

import json
import os
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

# importlib mode adds no path.
sys.path.insert(0, str(Path(__file__).parent))
pytest.importorskip("mcp", reason="the coverage matrix needs an MCP SDK in this environment")

from cells import Results, as_property, cells_of

CELLS = "MCP_AUDIT_COVERAGE_CELLS"
STACK = "MCP_AUDIT_COVERAGE_STACK"
PACKAGES = ("mcp", "fastmcp", "opentelemetry-sdk")
RESULTS = Results()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "cell(outcome, transport): what this test proves in the coverage matrix")


def pytest_itemcollected(item: pytest.Item) -> None:
    RESULTS.files.add(item.path.name)
    cells = cells_of(item)
    RESULTS.outcomes.update(cell.outcome for cell in cells)
    item.user_properties.extend(as_property(cell) for cell in cells)


@pytest.fixture
def collected() -> Results:
    """What this process collected, before anything was deselected; pytest-xdist collects in each of its processes."""
    return RESULTS


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    RESULTS.add(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    RESULTS.add_module(report)


def pytest_sessionfinish(session: pytest.Session) -> None:
    path = os.environ.get(CELLS)
    # The processes of pytest-xdist hand their reports to the first one, which writes.
    if not path or hasattr(session.config, "workerinput"):
        return
    collected = sorted({value for item in session.items for name, value in item.user_properties if name == "cell"})
    told = {"stack": os.environ.get(STACK, ""), "packages": packages(), "collected": collected, **RESULTS.plain()}
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def packages() -> dict[str, str]:
    """What this environment has of the packages that make a stack."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
