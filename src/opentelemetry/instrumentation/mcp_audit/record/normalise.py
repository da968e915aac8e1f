# SPDX-License-Identifier: Apache-2.0
"""Any Python value -> plain JSON data and its one text (FORMAT section 3), in bounded time and without touching it.

Two ways give the same text. The short one surveys the containers, then lets the C encoder of :mod:`json` write; the long
one rebuilds the value node by node. The survey says which one a value needs, so that the common call never takes the
long way. Where a value holds more than it may, a part is replaced by ``{"$cut": n}``: for too deep, too many nodes and
cycles ``n`` is the number of members of what was left out.
"""

from __future__ import annotations

import base64
import json
import json.encoder
import math
import re
from collections import deque
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, Literal

from .fast import fast_text

Survey = Literal["floats", "no floats"]
CUT: Final = "$cut"
BYTES: Final = "$bytes"
MAX_SAFE_INTEGER: Final = 2**53 - 1
# int -> decimal is quadratic, and Python 3.11+ refuses above 4,300 digits: larger ones are cut, n = their bits.
MAX_INTEGER_BITS: Final = 13_000


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a call is kept.

    ``body_bytes``: UTF-8 bytes of the body text, 256 at least. ``depth``: containers inside one another. ``nodes``:
    values in one member, containers included. ``attribute_chars``: code points of one attribute from the wire. ``list_items``: values
    of one list attribute.
    """

    body_bytes: int = 65_536
    depth: int = 32
    nodes: int = 10_000
    attribute_chars: int = 1_024
    list_items: int = 64


def plain_text(value: object, limits: Limits) -> str:
    """The text of a value normalised but not redacted; depth and nodes are cut, sizes are not. Never raises for a value."""
    text = text_if_simple(value, limits, frozenset(), [])
    return encode(normalise(value, limits)) if text is None else text


def text_if_simple(value: object, limits: Limits, known: Set[str], unknown: list[str]) -> str | None:
    """The text of a value that the C encoder writes exactly as the long way would; None when it needs the long way.

    ``known`` are keys that the caller has judged before (exact strings, none starting with ``$``); every other key is
    appended to ``unknown``.
    """
    try:
        survey = _survey(value, limits, known, unknown)
        if survey is None:
            return None
        if survey == "no floats" and fast_text is not None:
            return fast_text(value)
        text = encode(value)
        if not text.isascii():
            text.encode()  # a lone surrogate cannot be encoded
        return text
    except Exception:
        # NaN, a surrogate, a container changed by another thread, a stack with little room left, a key whose own code
        # raised: the long way knows what to do.
        return None


def _survey(value: object, limits: Limits, known: Set[str], unknown: list[str]) -> Survey | None:
    """What value is made of, when that is exact JSON types, string keys, small ints, within depth and nodes; else None.

    Level by level.
    """
    if type(value) is not dict and type(value) is not list:
        value = [value]
    floats = False
    nodes = 1
    level: list[Any] = [value]
    for _ in range(limits.depth):
        below: list[Any] = []
        for container in level:
            nodes += len(container)
            if nodes > limits.nodes:
                return None
            if type(container) is dict:
                if not known >= container.keys():
                    for key in container:
                        if type(key) is not str or key[:1] == "$":
                            return None
                        if key not in known:
                            unknown.append(key)
                container = container.values()
            for item in container:
                kind = type(item)
                if kind is str:
                    continue
                if kind is int:
                    if -MAX_SAFE_INTEGER <= item <= MAX_SAFE_INTEGER:
                        continue
                    return None
                if kind is dict or kind is list:
                    below.append(item)
                elif kind is float:
                    floats = True
                elif not (item is None or kind is bool):
                    return None
        if not below:
            return "floats" if floats else "no floats"
        level = below
    return None


def normalise(value: object, limits: Limits) -> Any:
    """A new tree of dict, list, str, int, float, bool and None whose text is defined; see FORMAT section 3."""
    return _Normaliser(limits).node(value, 0)


class _Normaliser:
    """The long way: one walk, at most ``depth`` frames deep, that knows its ancestors and how many nodes are left."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._left = limits.nodes - 1
        self._ancestors: set[int] = set()

    def node(self, value: object, depth: int) -> Any:
        try:
            return self._node(value, depth)
        except Exception:
            # A foreign object whose own code raised, down to its __class__: the record must still be made.
            return _unprintable(value)

    def _node(self, value: object, depth: int) -> Any:
        if value is None or value is True or value is False:
            return value
        if isinstance(value, str):
            return fix_surrogates(str.__str__(value))
        if isinstance(value, int):
            return _integer(int.__int__(value))
        if isinstance(value, float):
            return _real(float.__float__(value))
        if isinstance(value, (bytes, bytearray, memoryview)):
            return {BYTES: base64.b64encode(bytes(value)).decode("ascii")}
        if isinstance(value, (list, tuple, deque, set, frozenset)):
            return self._enter(value, depth, self._items)
        if isinstance(value, Mapping):
            return self._enter(value, depth, self._members)
        return _bounded(str(value), self._limits)

    def _enter(self, value: Any, depth: int, walk: Callable[[Any, int, int], Any]) -> Any:
        size = len(value)
        if depth >= self._limits.depth or id(value) in self._ancestors or size > self._left:
            return {CUT: size}
        # The members are paid for on entry, so that what stands beside a container cannot be starved by its inside.
        self._left -= size
        self._ancestors.add(id(value))
        try:
            return walk(value, size, depth + 1)
        finally:
            self._ancestors.discard(id(value))

    def _items(self, value: Any, size: int, depth: int) -> list[Any]:
        items = [self.node(item, depth) for item in list(islice(value, size))]
        return sorted(items, key=encode) if isinstance(value, (set, frozenset)) else items

    def _members(self, value: Any, size: int, depth: int) -> dict[str, Any]:
        pairs = list(islice(dict.items(value) if isinstance(value, dict) else value.items(), size))
        # Real strings first: a key that only becomes equal by normalising must not take their place. Then by name, so
        # that which part is cut does not depend on the order of insertion.
        named = [(0 if type(key) is str else 1, key_text(key, self._limits), item) for key, item in pairs]
        named.sort(key=lambda row: row[:2])
        members: dict[str, Any] = {}
        for _, name, item in named:
            members[unused(name, members)] = self.node(item, depth)
        return members


def key_text(key: object, limits: Limits) -> str:
    """The name of a member: as JSON writes None, bools and numbers, else its string; a leading ``$`` is doubled."""
    if isinstance(key, str):
        name = fix_surrogates(str.__str__(key))
    elif key is None or key is True or key is False:
        name = encode(key)
    elif isinstance(key, int):
        name = _plain_string(_integer(int.__int__(key)))
    elif isinstance(key, float):
        name = _plain_string(_real(float.__float__(key)))
    else:
        try:
            name = _plain_string(_bounded(str(key), limits))
        except Exception:
            # as for values: foreign code that raises may not lose the record
            name = _unprintable(key)
    return "$" + name if name.startswith("$") else name


def unused(name: str, members: Mapping[str, object]) -> str:
    """``name``, or the first of ``name$2``, ``name$3``, … that no member has: two keys that became one lose no value."""
    if name not in members:
        return name
    number = 2
    while f"{name}${number}" in members:
        number += 1
    return f"{name}${number}"


def _plain_string(value: Any) -> str:
    return value if type(value) is str else encode(value)


def _integer(value: int) -> Any:
    if -MAX_SAFE_INTEGER <= value <= MAX_SAFE_INTEGER:
        return value
    bits = value.bit_length()
    return {CUT: bits} if bits > MAX_INTEGER_BITS else str(value)


def _real(value: float) -> Any:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _bounded(text: str, limits: Limits) -> Any:
    """The string of a foreign object; nobody expects it to be long, so it is cut here already (n = code points)."""
    return {CUT: len(text)} if len(text) > limits.body_bytes else fix_surrogates(str.__str__(text))


def _unprintable(value: object) -> str:
    return f"<unprintable {type(value).__name__}>".encode("utf-8", "replace").decode()


_PAIR: Final = re.compile("[\ud800-\udbff][\udc00-\udfff]")
# Long runs are replaced by one call each, single ones by a constant: both keep ten megabytes of them cheap.
_LONE_RUN: Final = re.compile("[\ud800-\udfff]{16,}")
_LONE: Final = re.compile("[\ud800-\udfff]")


def fix_surrogates(text: str) -> str:
    """Pairs of surrogates joined to the character they mean, lone ones replaced by U+FFFD; other strings as they are."""
    if text.isascii():
        return text
    try:
        text.encode()
        return text
    except UnicodeEncodeError:
        if _PAIR.search(text):
            # JSON writes each half as an escape and reads a pair as one character, all in C; codecs with an error
            # handler, the usual way, take a microsecond for every half.
            text = json.loads(json.dumps(text))
        text = _LONE_RUN.sub(lambda run: "\ufffd" * (run.end() - run.start()), text)
        return _LONE.sub("\ufffd", text)


def _refuse(value: object) -> Any:
    raise TypeError(type(value).__name__)


def _make_encode() -> Callable[[Any], str]:
    """JSON text: members sorted by code point, compact, not escaped to ASCII, numbers as Python's json writes them.

    ``JSONEncoder.encode`` builds a C encoder on every call; one kept for good halves the cost of a small call. Where a
    Python has no such thing or it behaves otherwise, the public class does the work. Cycles are the caller's matter.
    """
    public = json.JSONEncoder(
        ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False, check_circular=False
    ).encode
    make: Any = getattr(json.encoder, "c_make_encoder", None)
    quote: Any = getattr(json.encoder, "c_encode_basestring", None)
    if make is None or quote is None:
        return public
    chunks = make(None, _refuse, quote, None, ":", ",", True, False, False)
    sample = {"b": [1, -0.5, 1e22, None, True, '\u00e9"\\\n\u2028\x7f'], "a": {}}
    try:
        same = "".join(chunks(sample, 0)) == public(sample)
    except Exception:
        # a later Python with another private signature
        same = False
    if not same:
        return public
    return lambda value: "".join(chunks(value, 0))


encode: Final[Callable[[Any], str]] = _make_encode()
