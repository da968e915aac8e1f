# SPDX-License-Identifier: Apache-2.0
"""Where the parts of a JSON text begin and end, without a tree of it: strings and brackets are counted, nothing else.

Pure. What stands inside a part is for whoever parses it; that all are whole, and nothing is beside them, is known here.
"""

from __future__ import annotations

import json
import re
from typing import Final, NamedTuple

Text = bytes | bytearray

_SPACE: Final = re.compile(rb"[ \t\n\r]*")
_MARK: Final = re.compile(rb'["\[\]{}]')
_SCALAR: Final = re.compile(rb'[^\s,:"\[\]{}]+')
_QUOTE, _BACKSLASH, _COMMA, _COLON = b'"'[0], b"\\"[0], b","[0], b":"[0]
_CLOSING: Final = {b"["[0]: b"]"[0], b"{"[0]: b"}"[0]}
_OPENING: Final = {closing: opening for opening, closing in _CLOSING.items()}
# A byte for each level that is open; whoever parses the part takes fewer.
_DEEPEST: Final = 100_000


class Broken(ValueError):
    """The text is no JSON."""


class WrongType(Broken):
    """The part is JSON of another type than it must have."""


class Place(NamedTuple):
    """One value: the bytes from ``start`` to before ``end``."""

    start: int
    end: int

    def longer(self, size: int) -> bool:
        return self.end - self.start > size

    def text(self, body: Text) -> bytes:
        return bytes(body[self.start : self.end])


def whole_object(body: Text) -> dict[str, Place]:
    """The members of an object that is all of the text. Raises :class:`Broken`."""
    try:
        start = _blank(body, 0)
        place = Place(start, _end(body, start))
        if _blank(body, place.end) != len(body):
            raise Broken("not JSON (more behind its end)")
        return members(body, place)
    except IndexError:
        raise Broken("not JSON (it is cut off)") from None


def members(body: Text, place: Place) -> dict[str, Place]:
    """The members of an object. Raises :class:`Broken`, also for a repeated one: one of the two would be lost."""
    found: dict[str, Place] = {}
    if body[place.start] != b"{"[0]:
        raise WrongType("no JSON object")
    at = _blank(body, place.start + 1)
    while at < place.end - 1:
        at = _after_comma(body, at) if found else at
        if body[at] != _QUOTE:
            raise Broken("not JSON (a member without a name)")
        behind = _string_end(body, at)
        try:
            name = json.loads(body[at:behind])
        except ValueError:
            raise Broken("not JSON (a name that is no string)") from None
        at = _blank(body, behind)
        if body[at] != _COLON:
            raise Broken("not JSON (a name without a value)")
        at = _blank(body, at + 1)
        value = Place(at, _end(body, at))
        if name in found:
            raise Broken(f"JSON member {json.dumps(name[:80])} is repeated")
        found[name] = value
        at = _blank(body, value.end)
    return found


def elements(body: Text, place: Place) -> list[Place]:
    """The elements of an array. Raises :class:`Broken`."""
    found: list[Place] = []
    if body[place.start] != b"["[0]:
        raise WrongType("no JSON array")
    at = _blank(body, place.start + 1)
    while at < place.end - 1:
        at = _after_comma(body, at) if found else at
        found.append(Place(at, _end(body, at)))
        at = _blank(body, found[-1].end)
    return found


def _after_comma(body: Text, at: int) -> int:
    if body[at] != _COMMA:
        raise Broken("not JSON (no comma between two values)")
    return _blank(body, at + 1)


def _blank(body: Text, at: int) -> int:
    space = _SPACE.match(body, at)
    assert space is not None
    return space.end()


def _end(body: Text, at: int) -> int:
    """Behind the value that begins here. Raises :class:`Broken`; IndexError at the end of the text."""
    first = body[at]
    if first == _QUOTE:
        return _string_end(body, at)
    if first not in _CLOSING:
        scalar = _SCALAR.match(body, at)
        if scalar is None:
            raise Broken("not JSON (a value is missing)")
        return scalar.end()
    open_ = bytearray()
    while mark := _MARK.search(body, at):
        at = mark.end()
        sign = body[at - 1]
        if sign == _QUOTE:
            at = _string_end(body, at - 1)
        elif sign in _CLOSING:
            open_.append(sign)
            if len(open_) > _DEEPEST:
                raise Broken("nested too deeply")
        elif open_.pop() != _OPENING[sign]:
            raise Broken("not JSON (a bracket of the wrong kind)")
        elif not open_:
            return at
    raise Broken("not JSON (it is cut off)")


def _string_end(body: Text, at: int) -> int:
    behind = at + 1
    while (quote := body.find(b'"', behind)) >= 0:
        first = quote
        while body[first - 1] == _BACKSLASH:
            first -= 1
        if (quote - first) % 2 == 0:
            return quote + 1
        behind = quote + 1
    raise Broken("not JSON (a string without an end)")
