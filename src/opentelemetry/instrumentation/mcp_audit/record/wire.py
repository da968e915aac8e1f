# SPDX-License-Identifier: Apache-2.0
"""Values that others chose, on their way into a record's attributes: cleaned, masked, bounded, and only when there."""

from __future__ import annotations

from collections.abc import Sequence

from . import attributes as a
from .content import Content


class Wire:
    """Puts values that others chose into the record: cleaned, masked, bounded, and only when they are there."""

    def __init__(self, content: Content, values: dict[str, a.AttributeValue]) -> None:
        self._content = content
        self.values = values

    def text(self, name: str, value: object) -> None:
        """Said by the caller or its content: redacted, and masked where it repeats a secret."""
        if value is not None and value != "":
            self.values[name] = self._content.attribute(name, value if isinstance(value, str) else str(value))

    def texts(self, name: str, values: Sequence[str]) -> None:
        if values:
            self.values[name] = self._content.attributes(name, values)

    def fact(self, name: str, value: object) -> None:
        """Who acted, from where, on what: redacted by shape, but not masked by what the arguments hold."""
        if value is not None and value != "":
            text = value if isinstance(value, str) else str(value)
            self.values[name] = self._content.attribute(name, text, masked=False)

    def facts(self, name: str, values: Sequence[str]) -> None:
        if values:
            self.values[name] = self._content.attributes(name, values, masked=False)
