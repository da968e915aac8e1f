# SPDX-License-Identifier: Apache-2.0
"""One attribute of a loaded module, wrapped and put back as it was."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import wrapt

from .running import Switch
from .table import Row


@dataclass(slots=True)
class Patch:
    """What :func:`put_on` did. ``own``: the original stood in the owner itself, not in a base of it."""

    row: Row
    owner: Any
    name: str
    original: Any
    wrapper: Any
    own: bool


def put_on(module: ModuleType, row: Row, switch: Switch) -> Patch:
    """Wrap one attribute. AttributeError when it is not there."""
    owner: Any = module
    *path, name = row.attribute.split(".")
    for part in path:
        owner = getattr(owner, part)
    own = name in vars(owner)
    if not own and name.startswith("__"):
        # Every object has a `__call__` of some kind; only the class's own is the one meant.
        raise AttributeError(row.attribute)
    original = vars(owner)[name] if own else getattr(owner, name)
    wrapper = wrapt.FunctionWrapper(original, row.wrapper(switch))
    setattr(owner, name, wrapper)
    if row.copied:
        _rename(name, original, wrapper)
    return Patch(row, owner, name, original, wrapper, own)


def take_off(patch: Patch) -> bool:
    """Put the original back; False when somebody else wrapped ours and it has to stay, inert."""
    if vars(patch.owner).get(patch.name) is not patch.wrapper:
        return False
    if patch.own:
        setattr(patch.owner, patch.name, patch.original)
    else:
        delattr(patch.owner, patch.name)
    if patch.row.copied:
        _rename(patch.name, patch.wrapper, patch.original)
    return True


def _rename(name: str, old: Any, new: Any) -> None:
    """Change what ``from … import name`` copied into modules that are loaded already."""
    for module in list(sys.modules.values()):
        names = getattr(module, "__dict__", None)
        if isinstance(names, dict) and names.get(name) is old:
            names[name] = new
