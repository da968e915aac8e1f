# SPDX-License-Identifier: Apache-2.0
"""What is a secret: by the name it stands under, by its shape.

A name is sensitive by its words (``apiKey``, ``API-KEY`` and ``x_api_key`` are ``x api key``). Of the names in
``RedactionRules.keys`` those of six letters or more match anywhere in the joined words, shorter ones as whole words;
``NOT_SECRET`` lists what makes such a name speak of a secret without holding it (``token_count``, ``max_tokens``).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from .detectors import DETECTORS, Detector
from .pairs import PairFinder, separates

KEYS: Final[tuple[str, ...]] = (
    *("password", "passwd", "passphrase", "passcode", "pass", "pwd", "pin", "otp", "totp"),
    *("secret", "token", "jwt", "bearer", "authorization", "auth", "credential", "cookie"),
    *("api key", "access key", "private key", "account key", "encryption key", "signing key", "master key", "ssh key"),
    *("connection string", "conn str", "dsn", "ssn", "social security", "cvv", "cvc", "security code", "seed phrase"),
)
# Short names that are ordinary words inside others (pass_rate, pin_id, auth_type): only as the last word.
LAST_WORD_ONLY: Final = frozenset({"pass", "pin", "auth"})
# As the last word of a name: it measures or describes the secret.
NOT_SECRET: Final = frozenset(
    "count counts type types limit limits budget usage length len size expiry expires expiration ttl policy url uri "
    "endpoint enabled required used remaining strength algorithm method provider".split()
)
# Anywhere in a name with `tokens`, in the plural: it counts what language models consume.
COUNTED: Final = frozenset(
    "max min num number total input output prompt completion cached cache reasoning used remaining estimated per "
    "context new generated thinking budget limit count".split()
)
WORDS_WITHIN: Final = ("secretar", "tokeniz", "tokenis")
ECHO: Final = "echo"
KEY: Final = "key"
_KNOWN_MAX: Final = 4_096
_KNOWN_CHARS: Final = 128
_JUDGED_CHARS: Final = 256
_FOLDED_CHARS: Final = 64

# Characters from rare to common in what tools are called with; those that are not listed count as the rarest.
_RARE_FIRST: Final = "XJKIAPVz@xjqvwbk-_fygpumhdclrsnitoae"
# apiKey, APIKey, API_KEY: a capital begins a word, the last of several belongs to the next; anything else separates.
_WORD: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


@dataclass(frozen=True, slots=True)
class RedactionRules:
    """What is redacted. ``keys``: names, words separated by a space, lower case. ``detectors``: shapes, in order.

    A value remembers which keys and short strings it has judged clean (bounded, redone when full): tools are called
    with the same names again and again.
    """

    keys: tuple[str, ...] = KEYS
    detectors: tuple[Detector, ...] = DETECTORS
    known_keys: set[str] = field(init=False, repr=False, compare=False, default_factory=set)
    known_texts: set[str] = field(init=False, repr=False, compare=False, default_factory=set)
    pairs: PairFinder = field(init=False, repr=False, compare=False)
    marker: re.Pattern[str] = field(init=False, repr=False, compare=False)
    _needles: tuple[tuple[str, tuple[str, ...]], ...] = field(init=False, repr=False, compare=False)
    _low_needles: tuple[tuple[str, tuple[str, ...]], ...] = field(init=False, repr=False, compare=False)
    _without_needles: tuple[Detector, ...] = field(init=False, repr=False, compare=False)
    _long: tuple[str, ...] = field(init=False, repr=False, compare=False)
    _short: frozenset[str] = field(init=False, repr=False, compare=False)
    _judged: dict[str, bool] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        joined = [name.replace(" ", "") for name in self.keys]
        rules = "|".join(re.escape(rule) for rule in (KEY, ECHO, *(d.rule for d in self.detectors)))
        put: Callable[[str, object], None] = lambda name, value: object.__setattr__(self, name, value)  # noqa: E731
        put("_long", tuple(name for name in joined if len(name) >= 6))
        put("_short", frozenset(name for name in joined if len(name) < 6))
        put("marker", re.compile(rf"(\[REDACTED:(?:{rules})\])"))
        put("_needles", _by_hint(needle for d in self.detectors if d.likely is None for needle in d.needles))
        lower = [needle for d in self.detectors if d.likely is None for needle in d.lower]
        put("_without_needles", tuple(d for d in self.detectors if d.likely is not None))
        put("pairs", PairFinder(self.keys, self.sensitive, self.marker))
        put("_low_needles", _by_hint(lower))

    def sensitive(self, name: str) -> bool:
        """Whether the value under this name is a secret by its name alone."""
        known = self._judged.get(name)
        if known is None:
            known = self._judge(name)
            if len(name) <= _KNOWN_CHARS:
                _add(self._judged, name, known)
        return known

    def _judge(self, name: str) -> bool:
        if not name.isascii() and len(name) <= _FOLDED_CHARS:
            # full-width and other forms of the same letters
            name = unicodedata.normalize("NFKC", name)
        if not self.pairs.possible(name.lower()):
            return False
        if len(name) > _JUDGED_CHARS:
            return True  # no honest name: not worth taking apart word by word
        words = [word.lower() for word in _WORD.findall(name)]
        if not words:
            return False
        last, joined = words[-1], "".join(words)
        if last in NOT_SECRET and len(words) > 1:
            return False
        for within in WORDS_WITHIN:
            joined = joined.replace(within, " ")
        if any(name in joined for name in self._long):
            return True
        plural_count = not COUNTED.isdisjoint(words)
        for word in words:
            one = word[:-1] if word.endswith("s") and len(word) > 4 else word
            for short in self._short:
                # `accesstoken` written as one word: names of five letters may also end a word.
                if one == short or (len(short) == 5 and one.endswith(short)):
                    if short in LAST_WORD_ONLY and word != last:
                        continue
                    if one != word and short == "token" and plural_count:
                        continue
                    return True
        return False

    def clean_names(self, names: Iterable[str]) -> bool:
        """Whether none of these keys is sensitive; remembers the clean ones. Keys must not start with ``$``."""
        for name in names:
            if self.sensitive(name):
                return False
            if len(name) <= _KNOWN_CHARS:
                if len(self.known_keys) >= _KNOWN_MAX:
                    self.known_keys.clear()
                self.known_keys.add(name)
        return True

    def clean_text(self, text: str, json_text: bool) -> bool:
        """Whether nothing is found in a text, judged without a walk; false may be wrong, true never is.

        ``json_text``: it is the JSON text of a value whose member names were judged clean. Its strings are meant then:
        escaping hides no needle, no digit, no separator.
        """
        low = text.lower()
        for where, groups in ((text, self._needles), (low, self._low_needles)):
            for hint, needles in groups:
                if hint in where:
                    for needle in needles:
                        if needle in where and self.active(text):
                            return False
        for detector in self._without_needles:
            # Digits of an escape such as \\u0001 could hide where a number starts: then the possibility is enough.
            if detector.possible(text, low) and ("\\u" in text or any(True for _ in detector.find(text))):
                return False
        return (json_text and not separates(text)) or not self.pairs.suspects(text, low)

    def active(self, text: str) -> tuple[Detector, ...]:
        """The detectors that may find something in a text, or in a string of which it is the JSON text."""
        low = text.lower()
        return tuple([detector for detector in self.detectors if detector.possible(text, low)])

    def scan(self, text: str, active: Iterable[Detector], found: Callable[[str, str], None]) -> str:
        """The text with every find replaced; ``found(rule, matched part)`` is called for each."""
        low = text.lower()
        for detector in active:
            if detector.possible(text, low):
                text = self._replace(text, detector.rule, detector.find(text), found)
        if self.pairs.possible(low):
            text = self._replace(text, KEY, self.pairs.find(text), found)
        return text

    def _replace(
        self, text: str, rule: str, spans: Iterable[tuple[int, int]], found: Callable[[str, str], None]
    ) -> str:
        parts: list[str] = []
        position = 0
        for start, end in spans:
            part = text[start:end]
            if not self.marker.fullmatch(part):
                found(rule, part)
                parts += (text[position:start], f"[REDACTED:{rule}]")
                position = end
        return "".join(parts) + text[position:] if parts else text


def _by_hint(needles: Iterable[str]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Needles by their rarest character: one character is looked for much faster than a word."""
    groups: dict[str, list[str]] = {}
    for needle in needles:
        groups.setdefault(min(needle, key=lambda char: _RARE_FIRST.find(char)), []).append(needle)
    return tuple((hint, tuple(group)) for hint, group in groups.items())


def _add(table: dict[str, bool], name: str, value: bool) -> None:
    if len(table) >= _KNOWN_MAX:
        table.clear()
    table[name] = value


DEFAULT_RULES: Final = RedactionRules()
