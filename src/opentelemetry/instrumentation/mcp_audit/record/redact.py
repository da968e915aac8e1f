# SPDX-License-Identifier: Apache-2.0
"""The walk that takes secrets out of a normalised value, and the one that masks their echoes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from .detectors import Detector
from .echoes import Echoes
from .normalise import BYTES, CUT, encode, unused
from .rules import ECHO, KEY, RedactionRules

# Where a node is: the path of its container and its name or index there; () is the root. Linked, so that a walk only
# builds one pair a node and a pointer is written out for a find alone.
Path = tuple[Any, ...]


def is_cut(value: object) -> bool:
    """Whether a normalised value stands for something left out: a client's own ``$cut`` is written ``$$cut``."""
    return type(value) is dict and len(value) == 1 and CUT in value


def is_own(value: object) -> bool:
    """Whether a normalised dict is one of our forms, whose member name is not the client's."""
    return type(value) is dict and len(value) == 1 and (CUT in value or BYTES in value)


def leaves(value: Any) -> Iterator[str]:
    """The strings and numbers, as text, inside a normalised value: what a redacted container must be remembered by."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from leaves(item)
    elif value is not None and value is not True and value is not False:
        yield encode(value)


@dataclass(slots=True)
class Redaction:
    """One walk over a normalised value: a new tree without secrets. ``note(path, rule)`` hears of every find."""

    rules: RedactionRules
    echoes: Echoes
    note: Callable[[Path, str], None]

    def names_only(self, value: Any, path: Path) -> Any:
        """Only values under sensitive names are replaced; no string is scanned."""
        return self._walk(value, path, None)

    def everything(self, value: Any, path: Path, text: str) -> Any:
        """Values under sensitive names, and whatever a detector finds in strings, keys and integers.

        ``text`` is the JSON text of the value: detectors that can find nothing in it are not asked string by string.
        """
        active = self.rules.active(text)
        return self._walk(value, path, active if active or self.rules.pairs.possible(text.lower()) else None)

    def echo(self, value: Any, path: Path) -> Any:
        """What was remembered is masked, in strings, keys and numbers."""
        if isinstance(value, str):
            return self._masked(value, path)
        if isinstance(value, dict):
            if is_own(value):
                return value if is_cut(value) else {BYTES: self._masked(value[BYTES], path)}
            members: dict[str, Any] = {}
            for name in sorted(value):
                shown = unused(self._masked(name, path), members)
                members[shown] = self.echo(value[name], (path, shown))
            return members
        if isinstance(value, list):
            return [self.echo(item, (path, index)) for index, item in enumerate(value)]
        if value is None or value is True or value is False:
            return value
        text = encode(value)
        masked = self._masked(text, path)
        return value if masked == text else f"[REDACTED:{ECHO}]"

    def text(self, text: str, path: Path) -> str:
        """One string, redacted by all detectors."""
        return self._scan(text, path, self.rules.active(text))

    def _scan(self, text: str, path: Path, active: tuple[Detector, ...] | None) -> str:
        if active is None:
            return text

        def found(rule: str, part: str) -> None:
            self.note(path, rule)
            self.echoes.remember(part)

        return self.rules.scan(text, active, found)

    def _masked(self, text: str, path: Path) -> str:
        masked = self.echoes.mask(text)
        if masked != text:
            self.note(path, ECHO)
        return masked

    def _walk(self, value: Any, path: Path, active: tuple[Detector, ...] | None) -> Any:
        """``active``: the detectors to ask, beside the pairs; None: no string is scanned at all."""
        if isinstance(value, str):
            return self._scan(value, path, active)
        if isinstance(value, dict):
            if is_own(value):
                return dict(value)
            members: dict[str, Any] = {}
            for name in sorted(value):
                item = value[name]
                shown = unused(self._scan(name, path, active), members)
                here = (path, shown)
                members[shown] = (
                    self._secret(item, here) if self.rules.sensitive(name) else self._walk(item, here, active)
                )
            return members
        if isinstance(value, list):
            return [self._walk(item, (path, index), active) for index, item in enumerate(value)]
        if type(value) is int:
            text = encode(value)
            return value if len(text) < 13 or self._scan(text, path, active) == text else "[REDACTED:card]"
        return value

    def _secret(self, value: Any, path: Path) -> Any:
        """The stand-in for a value under a sensitive name; nothing, true and false tell no secret."""
        if value is None or value is True or value is False or value == "" or value == [] or value == {}:
            return value
        if is_cut(value) or (isinstance(value, str) and self.rules.marker.fullmatch(value)):
            return value
        for leaf in leaves(value):
            self.echoes.remember(leaf)
        self.note(path, KEY)
        return f"[REDACTED:{KEY}]"
