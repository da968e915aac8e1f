# SPDX-License-Identifier: Apache-2.0
"""Makes ``tests/helpers`` importable for the tests of this directory, and gives them real databases."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

_HELPERS = str(Path(__file__).parents[1] / "helpers")
if _HELPERS not in sys.path:
    sys.path.insert(0, _HELPERS)

import databases  # noqa: E402

from opentelemetry.instrumentation.mcp_audit.sink.engine import engine_of  # noqa: E402
from opentelemetry.instrumentation.mcp_audit.sink.migrate import migrate  # noqa: E402

KINDS = ["postgresql", "mariadb", "sqlite"]


@pytest.fixture(scope="session")
def postgresql() -> Iterator[databases.Server]:
    with databases.postgresql() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[databases.Server]:
    with databases.mariadb() as server:
        yield server


@pytest.fixture(params=KINDS)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """An empty database with the schema of this release."""
    if request.param == "sqlite":
        made = engine_of(f"sqlite:///{tmp_path}/audit.db")
    else:
        made = engine_of(request.getfixturevalue(request.param).url)
        databases.empty(made)
    migrate(made)
    yield made
    made.dispose()
