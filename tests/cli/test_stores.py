# SPDX-License-Identifier: Apache-2.0
"""What is shown of a place."""

from __future__ import annotations

import pytest

from opentelemetry.instrumentation.mcp_audit.cli._stores import without_password


@pytest.mark.parametrize(
    ("place", "shown"),
    [
        ("postgresql://ada:s3cret@db:5432/audit?sslmode=require", "postgresql://ada:***@db:5432/audit?sslmode=require"),
        ("clickhouses://ada:s3@cret@db/audit", "clickhouses://ada:***@db/audit"),
        ("mysql://:s3cret@db/audit", "mysql://:***@db/audit"),
        ("postgresql://ada@db/audit", "postgresql://ada@db/audit"),
        ("sqlite:////var/lib/audit.db", "sqlite:////var/lib/audit.db"),
        ("/var/log/mcp-audit", "/var/log/mcp-audit"),
    ],
)
def test_a_password_is_never_shown(place: str, shown: str) -> None:
    assert without_password(place) == shown
