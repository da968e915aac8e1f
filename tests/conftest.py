# SPDX-License-Identifier: Apache-2.0
"""Marks that plugins define: a run without the plugin (`--strict-markers`) then still knows them and ignores them."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marks of pytest-timeout and pytest-xdist."""
    config.addinivalue_line("markers", "timeout(seconds): time limit of this test (pytest-timeout)")
    config.addinivalue_line("markers", "xdist_group(name): tests that one worker runs (pytest-xdist)")
