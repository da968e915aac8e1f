# SPDX-License-Identifier: Apache-2.0
"""The content of one call on its way into a record: normalised, redacted, bounded, and what was done to it.

A value whose text is found clean by searches at C speed is never walked in Python: its text is the text of the body.
Only a suspicious one, or one that is too large, takes the walk of :mod:`.redact`.

Two forms in one record, ``[REDACTED:<rule>]`` and ``{"$cut": n}``, replace what is left out; ``redactions`` and
``truncated`` list where. ``n`` is: the code points of a string or attribute, the UTF-8 bytes of the text of a container
that was cut for its size, the number of members of one cut for depth, nodes or a cycle.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from .echoes import Echoes
from .normalise import CUT, Limits, encode, fix_surrogates, normalise, plain_text, text_if_simple
from .redact import Path, Redaction, is_cut
from .rules import DEFAULT_RULES, RedactionRules

__all__ = ["DEFAULT_RULES", "Content", "Limits", "RedactionRules", "plain_text"]

MANIFEST_MAX: Final = 64
# A name or a whole pointer in a manifest is cut to so many characters, with an ellipsis.
_NAME_MAX: Final = 64
_POINTER_MAX: Final = 512
# What a text may have in UTF-8 bytes for the room that the detectors are given, in body sizes.
_SCANNED: Final = 2
# Characters at the end of an attribute cut unscanned that are not shown: longer than any secret worth a shape.
_UNSURE: Final = 8_192
# Nothing of so few characters or bytes is cut: the stand-in would be as long, and markers stay whole.
_SMALL: Final = 32
_KNOWN_TEXTS: Final = 1_024
_KNOWN_TEXT_CHARS: Final = 256


class Content:
    """The content of one call; one object a record. Give the members first, then ask for attributes and the body.

    ``plain`` has, per member, the normalised text before redaction: for the keyed digest and the count of bytes, never
    to be stored. Nothing given is ever changed or kept: what the caller does to it later has no effect here.
    """

    __slots__ = ("plain", "_rules", "_limits", "_echoes", "_redactor", "_clean", "_trees", "_notes", "_cuts")

    def __init__(self, rules: RedactionRules = DEFAULT_RULES, limits: Limits = Limits()) -> None:  # noqa: B008
        self.plain: dict[str, str] = {}
        self._rules = rules
        self._limits = limits
        self._echoes: Echoes | None = None
        self._redactor: Redaction | None = None
        self._clean: dict[str, str] = {}
        self._trees: dict[str, Any] = {}
        self._notes: dict[tuple[Path, str], None] = {}
        self._cuts: dict[tuple[Path, int], None] = {}

    @property
    def _redaction(self) -> Redaction:
        """Made when something looks suspicious: most calls never ask."""
        if self._redactor is None:
            self._echoes = Echoes(self._rules.marker)
            self._redactor = Redaction(self._rules, self._echoes, self._note)
        return self._redactor

    @property
    def redactions(self) -> list[str]:
        """``<pointer or attribute> <rule>``, at most 64 and one that counts the rest; never the value."""
        return self._manifest([(path, rule) for path, rule in self._notes])

    @property
    def truncated(self) -> list[str]:
        """``<pointer or attribute> <original length>``, at most 64 and one that counts the rest; whole after ``body``."""
        return self._manifest([(path, str(length)) for path, length in self._cuts])

    def member(self, name: str, value: object) -> None:
        """Adds ``arguments``, ``result`` or ``error``, in this order. Never raises for a value."""
        try:
            self._add(name, value)
        except RecursionError:
            # The application called from the very end of its stack. The record says so rather than being lost.
            self.plain[name] = encode({CUT: 0})
            self._trees[name] = {CUT: 0}

    def _add(self, name: str, value: object) -> None:
        unknown: list[str] = []
        text = text_if_simple(value, self._limits, self._rules.known_keys, unknown)
        tree: Any = None
        if text is None:
            tree = normalise(value, self._limits)
            text = encode(tree)
        self.plain[name] = text
        large = len(text) > self._limits.body_bytes
        if tree is None:
            if not large and self._rules.clean_names(unknown) and self._rules.clean_text(text, True):
                self._clean[name] = text
                return
            # From the text: the value itself may be changed by another thread meanwhile.
            tree = json.loads(text)
        path = ((), name)
        if large:
            # Only what has a chance to stay is scanned; all of it is searched for sensitive names.
            tree = self._redaction.names_only(tree, path)
            tree = fit(_without_large(tree, self._limits.body_bytes), self._limits.body_bytes * _SCANNED)
            text = encode(tree)
        self._trees[name] = self._redaction.everything(tree, path, text)

    @property
    def untouched(self) -> bool:
        """Whether nothing was redacted or cut so far: then no value of this call depends on another one of it."""
        return not (self._notes or self._cuts or self._echoes)

    def is_clean(self, value: object) -> bool:
        """Whether :meth:`attribute` would give a value back as it is; false may be wrong. Notes nothing."""
        if type(value) is not str or self._echoes:
            return False
        if value in self._rules.known_texts:
            return True
        return (
            len(value) <= min(_KNOWN_TEXT_CHARS, self._limits.attribute_chars)
            and fix_surrogates(value) == value
            and self._rules.clean_text(value, False)
        )

    def attribute(self, name: str, value: str, *, masked: bool = True) -> str:
        """An attribute that came from the wire, made safe and cut. Ask after the members are given.

        Not ``masked``: echoes are left in it. For who acted and on what: a caller could else erase them from its own
        record, by naming them as passwords.
        """
        known = self._rules.known_texts
        masked = masked and bool(self._echoes)
        if not masked and value in known:
            return value
        text = fix_surrogates(str(value))
        length, limit = len(text), self._limits.attribute_chars
        huge = length > self._limits.body_bytes
        if huge:
            text = text[: self._limits.body_bytes]
        path = (None, name)
        if not self._rules.clean_text(text, False):
            text = self._redaction.text(text, path)
        elif length <= min(limit, _KNOWN_TEXT_CHARS):
            if len(known) >= _KNOWN_TEXTS:
                known.clear()
            known.add(text)
        if masked:
            text = self._redaction.echo(text, path)
        if huge:
            # A secret that this first cut went through may not have been recognised: what is left of it lies at the end.
            text = text[: max(0, len(text) - _UNSURE)]
        if huge or len(text) > limit:
            self._cuts[path, length] = None
        return self._cut(text, limit)

    def attributes(self, name: str, values: Sequence[str], *, masked: bool = True) -> list[str]:
        """A list of attributes from the wire, at most ``list_items`` of them; a list cut is manifested with its length."""
        kept = [self.attribute(name, value, masked=masked) for value in values[: self._limits.list_items]]
        if len(values) > len(kept):
            self._cuts[(None, name), len(values)] = None
        return kept

    def body(self, salt: str) -> str | None:
        """The body text, at most ``body_bytes`` UTF-8 bytes, or None without members. ``salt`` is hex.

        ``redactions`` and ``truncated`` are whole only after it.
        """
        if not self.plain:
            return None
        texts, trees = self._clean, self._trees
        if trees or self._echoes:
            texts, trees = dict(texts), dict(trees)
            for name in self.plain:
                self._mask(name, texts, trees)
        body = _compose(texts, salt)
        if len(body) * 4 > self._limits.body_bytes and len(body.encode()) > self._limits.body_bytes:
            whole = {name: trees[name] if name in trees else json.loads(text) for name, text in texts.items()}
            trees = fit({**whole, "salt": salt}, self._limits.body_bytes)
            body = encode(trees)
        if trees and f'"{CUT}"' in body:
            self._note_cuts(trees, ())
        return body

    def _mask(self, name: str, texts: dict[str, str], trees: dict[str, Any]) -> None:
        """Sets the text of a member, with what was redacted anywhere in this call masked in it."""
        text = texts[name] if name in texts else encode(trees[name])
        if self._echoes is not None and self._echoes.in_json(text):
            tree = trees[name] if name in trees else json.loads(text)
            trees[name] = self._redaction.echo(tree, ((), name))
            text = encode(trees[name])
        texts[name] = text

    def _note(self, path: Path, rule: str) -> None:
        self._notes[path, rule] = None

    def _note_cuts(self, value: Any, path: Path) -> None:
        if isinstance(value, dict):
            if is_cut(value):
                self._cuts[path, value[CUT]] = None
            for name in sorted(value):
                self._note_cuts(value[name], (path, name))
        elif isinstance(value, list):
            for index, item in enumerate(value):
                self._note_cuts(item, (path, index))

    def _manifest(self, entries: list[tuple[Path, str]]) -> list[str]:
        """Entries in the order of the finds. A pointer names keys, so what the call's secrets are is masked in it too."""
        shown = [f"{self._where(path)} {what}" for path, what in entries[:MANIFEST_MAX]]
        more = len(entries) - len(shown)
        return [*shown, f"\u2026 {more} more"] if more else shown

    def _where(self, path: Path) -> str:
        """An attribute's name, or the RFC 6901 pointer into the body."""
        if path and path[0] is None:
            return str(path[1])
        names: list[str] = []
        while path:
            path, name = path
            text = str(name) if self._echoes is None else self._echoes.mask(str(name))
            text = text if len(text) <= _NAME_MAX else text[:_NAME_MAX] + "\u2026"
            names.append("/" + text.replace("~", "~0").replace("/", "~1"))
        pointer = "".join(reversed(names))
        return pointer if len(pointer) <= _POINTER_MAX else pointer[:_POINTER_MAX] + "\u2026"

    def _cut(self, text: str, limit: int) -> str:
        """The first ``limit`` code points, less a marker that the cut would go through."""
        if len(text) <= limit:
            return text
        start = text.rfind("[", 0, limit)
        marker = self._rules.marker.match(text, start) if start >= 0 else None
        return text[:start] if marker and marker.end() > limit else text[:limit]


def _compose(texts: dict[str, str], salt: str) -> str:
    members = [f'"{name}":{texts[name]},' for name in sorted(texts)]
    return "{" + "".join(members) + f'"salt":"{salt}"' + "}"


def fit(value: Any, budget: int) -> Any:
    """A normalised value whose text has at most ``budget`` UTF-8 bytes: what is too large is ``{"$cut": n}``.

    Small facts survive: in every container the smallest member is served first, each may use what the larger ones can
    do without, and a container that must shrink does so inside; of equal ones the first by name or index. A container
    is cut as a whole only where its names alone are too large.
    """
    return _shrink(value, _measure(value), budget)[0]


def _without_large(value: Any, largest: int) -> Any:
    """The value without strings that could never stay, so that they take no room from others."""
    if isinstance(value, str):
        return {CUT: len(value)} if len(value) > largest else value
    if isinstance(value, dict):
        return {name: _without_large(item, largest) for name, item in value.items()}
    if isinstance(value, list):
        return [_without_large(item, largest) for item in value]
    return value


def _measure(value: Any) -> Any:
    """(UTF-8 bytes of the text of a value, the same of its members in order)."""
    if isinstance(value, dict):
        inner = [_measure(value[name]) for name in sorted(value)]
        return sum(size for size, _ in inner) + _overhead(value), inner
    if isinstance(value, list):
        inner = [_measure(item) for item in value]
        return sum(size for size, _ in inner) + _overhead(value), inner
    return utf8_length(encode(value)), ()


def _overhead(value: Any) -> int:
    """The bytes of a container's own text: brackets, commas, names, colons."""
    names = sum(utf8_length(encode(name)) + 1 for name in value) if isinstance(value, dict) else 0
    return 2 + max(0, len(value) - 1) + names


def utf8_length(text: str) -> int:
    """How many bytes a text takes; most are ASCII, and need not be written out to know it."""
    return len(text) if text.isascii() else len(text.encode())


def _stand_in(value: Any, size: int) -> Any:
    """What a value becomes when there is no room for it; itself where that would win nothing."""
    if isinstance(value, str):
        return {CUT: len(value)} if len(value) > _SMALL else value
    if isinstance(value, (dict, list)) and size > _SMALL and not is_cut(value):
        return {CUT: size}
    return value


def _shrink(value: Any, sizes: Any, budget: int) -> tuple[Any, int]:
    """The value made to fit, and the bytes that it takes; at least those of its stand-in, whatever the budget."""
    size, inner = sizes
    if size <= budget:
        return value, size
    stand_in = _stand_in(value, size)
    if not isinstance(value, (dict, list)):
        return stand_in, utf8_length(encode(stand_in))
    names = sorted(value) if isinstance(value, dict) else list(range(len(value)))
    least = [
        min(part[0], utf8_length(encode(_stand_in(value[name], part[0]))))
        for name, part in zip(names, inner, strict=True)
    ]
    left = budget - _overhead(value) - sum(least)
    if left < 0:
        return stand_in, utf8_length(encode(stand_in))
    kept: dict[Any, Any] = {}
    for index in sorted(range(len(names)), key=lambda index: (inner[index][0], index)):
        name = names[index]
        allowed = left + least[index]
        kept[name], used = _shrink(value[name], inner[index], allowed)
        left = allowed - used
    whole: Any = {name: kept[name] for name in names} if isinstance(value, dict) else [kept[name] for name in names]
    return whole, budget - left
