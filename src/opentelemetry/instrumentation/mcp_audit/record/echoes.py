# SPDX-License-Identifier: Apache-2.0
"""What was redacted once in a call is masked wherever it comes again in it."""

from __future__ import annotations

import json
import re
from typing import Final
from urllib.parse import quote, quote_plus

from .normalise import encode
from .pairs import NO_SECRETS
from .rules import ECHO

ECHO_MIN: Final = 6
REMEMBERED_MAX: Final = 128
_PERCENT: Final = re.compile(r"%[0-9A-F]{2}")


class Echoes:
    """The values that were redacted in one call, to be masked wherever they come again, in every usual spelling.

    At most ``REMEMBERED_MAX`` values, of ``ECHO_MIN`` to 65,536 characters: shorter ones would mask half of a text.
    """

    def __init__(self, marker: re.Pattern[str]) -> None:
        self._marker = marker
        self._values: set[str] = set()
        # Spelling as it stands in a string -> as that string stands in JSON text; longest first when used.
        self._spellings: dict[str, str] = {}

    def __bool__(self) -> bool:
        return bool(self._spellings)

    def remember(self, value: str) -> None:
        """From now on ``value`` is masked. What stands around it as blanks, or behind it as a full stop, is not its part."""
        value = value.strip().rstrip(".,:!?")
        if not ECHO_MIN <= len(value) <= 65_536 or len(self._values) >= REMEMBERED_MAX or value in self._values:
            return
        if value.lower() in NO_SECRETS or self._marker.search(value):
            return
        self._values.add(value)
        for spelling in _spellings(value):
            self._spellings.setdefault(spelling, encode(spelling)[1:-1])
        self._spellings = dict(sorted(self._spellings.items(), key=lambda pair: -len(pair[0])))

    def in_json(self, text: str) -> bool:
        """Whether a JSON text may hold one of the values in a string or number."""
        for spelling in self._spellings.values():
            if spelling in text:
                return True
        return False

    def mask(self, text: str) -> str:
        """The text with every one of the values replaced; markers that stand in it are left whole."""
        if not any(spelling in text for spelling in self._spellings):
            return text
        parts = self._marker.split(text)
        for number in range(0, len(parts), 2):
            for spelling in self._spellings:
                if spelling in parts[number]:
                    parts[number] = parts[number].replace(spelling, "\0")
            # One replacement sign first, so that no value is found inside the marker of another.
            parts[number] = parts[number].replace("\0", f"[REDACTED:{ECHO}]")
        return "".join(parts)


def _spellings(value: str) -> set[str]:
    """As it is, escaped once and twice as JSON does (with and without ASCII only), quoted for a URL."""
    if value.isascii() and value.isalnum():
        return {value}
    escaped = {encode(value)[1:-1], json.dumps(value)[1:-1]}
    quoted = {quote(value), quote(value, safe=""), quote_plus(value)}
    lower = {_PERCENT.sub(lambda match: match.group().lower(), spelling) for spelling in quoted}
    return {value} | escaped | {encode(spelling)[1:-1] for spelling in escaped} | quoted | lower
