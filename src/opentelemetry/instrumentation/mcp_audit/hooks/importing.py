# SPDX-License-Identifier: Apache-2.0
"""What Python's import system says of a module, asked without importing it and without waiting for one who does."""

from __future__ import annotations

import importlib.util
import sys
from importlib.machinery import PathFinder
from types import ModuleType


def exists(module: str) -> bool:
    """Whether the module is loaded or could be."""
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


def is_initialising(module: ModuleType) -> bool:
    """Whether the module's own code is still running. The name is Python's, private, and all there is."""
    return bool(getattr(getattr(module, "__spec__", None), "_initializing", False))
