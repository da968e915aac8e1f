# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a URL is said without its password."""

from __future__ import annotations

import pytest

from opentelemetry.instrumentation.mcp_audit.sink.engine import engine_of


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("oracle://x", "oracle: no database of this kind; known are postgresql, postgres, mysql, mariadb, sqlite"),
        (
            "postgresql://u:secret@h:port/x",
            "postgresql: no database URL of the form postgresql://USER:PASSWORD@HOST:PORT/NAME",
        ),
    ],
)
def test_urls_that_are_none(url: str, said: str) -> None:
    with pytest.raises(ValueError) as error:
        engine_of(url)
    assert str(error.value) == said
