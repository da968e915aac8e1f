# SPDX-License-Identifier: Apache-2.0
"""Which answers of a sink a Collector may see."""

from __future__ import annotations

import pytest

from opentelemetry.instrumentation.mcp_audit.relay.verdict import verdict

PASSED = {*range(200, 300), 429, 502, 503, 504}
KEPT = {400, 413, 422}


@pytest.mark.parametrize("status", range(100, 600))
def test_every_status(status: int) -> None:
    assert verdict(status) == ("pass" if status in PASSED else "keep" if status in KEPT else "again")
