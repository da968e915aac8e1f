# SPDX-License-Identifier: Apache-2.0
"""What is found in a text, what is not, and that no text takes long."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentelemetry.instrumentation.mcp_audit.record.detectors import DETECTORS, is_card
from opentelemetry.instrumentation.mcp_audit.record.pairs import separates
from opentelemetry.instrumentation.mcp_audit.record.rules import DEFAULT_RULES

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc\n-----END RSA PRIVATE KEY-----"


def scan(text: str) -> str:
    assert DEFAULT_RULES.clean_text(text, False) is False
    return DEFAULT_RULES.scan(text, DEFAULT_RULES.active(text), lambda rule, part: None)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"a {JWT} b", "a [REDACTED:jwt] b"),
        (f"%20{JWT}", "%20[REDACTED:jwt]"),
        ("eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.", "[REDACTED:jwt]"),
        (f"x{PEM}y", "x[REDACTED:private_key]y"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE", "[REDACTED:private_key]"),
        ("-----BEGIN PGP PRIVATE KEY BLOCK-----\nx\n-----END PGP PRIVATE KEY BLOCK-----.", "[REDACTED:private_key]."),
        ("id AKIAIOSFODNN7EXAMPLE.", "id [REDACTED:aws_key]."),
        ("ASIAIOSFODNN7EXAMPLE", "[REDACTED:aws_key]"),
        ("gho_" + "a1" * 18, "[REDACTED:github_token]"),
        ("github_pat_" + "a1_" * 20, "[REDACTED:github_token]"),
        ("xoxp-1234567890-abc", "[REDACTED:slack_token]"),
        ("AIza" + "b" * 35, "[REDACTED:google_key]"),
        ("rk_live_abcdefghij", "[REDACTED:stripe_key]"),
        ("sk-abcdefghij0123456789", "[REDACTED:model_key]"),
        ("postgres://bob:hunter2@db/x", "postgres://bob:[REDACTED:url_credentials]@db/x"),
        ("redis://:p@ss@h", "redis://:[REDACTED:url_credentials]@h"),
        ("got Bearer abc.def-1, ok", "got Bearer [REDACTED:bearer], ok"),
        ("got bearer%20abc1", "got bearer%20[REDACTED:bearer]"),
        ("Basic dXNlcjpwYXNz", "Basic [REDACTED:bearer]"),
        ("card 4111111111111111.", "card [REDACTED:card]."),
        ("4111 1111 1111 1111 123", "[REDACTED:card] 123"),
        ("12 4111-1111-1111-1111", "12 [REDACTED:card]"),
        ("3782 822463 10005", "[REDACTED:card]"),
        ("password=hunter2, user=bob", "password=[REDACTED:key], user=bob"),
        ("password = 'a b' x", "password = '[REDACTED:key]' x"),
        ("x?token=abc&y=1", "x?token=[REDACTED:key]&y=1"),
        ("x%3Ftoken%3Dabc%26y%3D1", "x%3Ftoken%3D[REDACTED:key]%26y%3D1"),
        ('{"api_key": "a\\"b", "c": 1}', '{"api_key": "[REDACTED:key]", "c": 1}'),
        ('{\\"pin\\": \\"a\\", \\"c\\": 1}', '{\\"pin\\": \\"[REDACTED:key]\\", \\"c\\": 1}'),
        ('{"pin": 1234, "c": 1}', '{"pin": [REDACTED:key], "c": 1}'),
        ('{"credentials": {"a": "}", "b": [1]}, "c": 1}', '{"credentials": [REDACTED:key], "c": 1}'),
        ("{'token': ['a', 'b'], 'c': 1}", "{'token': [REDACTED:key], 'c': 1}"),
        ('{"secret":\n  "x"}', '{"secret":\n  "[REDACTED:key]"}'),
        ('secret="open', 'secret="[REDACTED:key]'),
        ("Authorization: Digest a=b, c=d\nnext: 1", "Authorization: [REDACTED:key]\nnext: 1"),
        ("Cookie: a=b; c=d\r\nx", "Cookie: [REDACTED:key]\r\nx"),
        ("Server=h;Uid=u;Pwd=abc;x=1", "Server=h;Uid=u;Pwd=[REDACTED:key];x=1"),
        ("cmd --password hunter2 -x", "cmd --password [REDACTED:key] -x"),
        ("cmd --api-key=abc", "cmd --api-key=[REDACTED:key]"),
        ("export API_KEY=abc", "export API_KEY=[REDACTED:key]"),
        ("<password>hunter2</password>", "<password>[REDACTED:key]</password>"),
        (":password => 'x'", ":password => '[REDACTED:key]'"),
        ("social security number: 123-45-6789", "social security number: [REDACTED:key]"),
        ("a\\npin=1234", "a\\npin=[REDACTED:key]"),
        ("\u0130 token=abc", "\u0130 token=[REDACTED:key]"),
        ("password=[REDACTED:key] token=x", "password=[REDACTED:key] token=[REDACTED:key]"),
        ("secret=password=x", "secret=[REDACTED:key]"),
    ],
)
def test_found(text: str, shown: str) -> None:
    assert scan(text) == shown
    assert scan(f"{text} token=x").endswith("token=[REDACTED:key]") or '"open' in text or "MIIE" in text


@pytest.mark.parametrize(
    "text",
    [
        "eyJ",
        "eyJhbGciOiJIUzI1NiJ9",
        "-----BEGIN CERTIFICATE-----",
        "AKIA",
        "task-force-for-the-new-office-building",
        "sk-learn-is-a-library-for-machine-learning",
        "user@example.com",
        "http://host:80/path@x",
        "bearer token",
        "Basic information about us",
        "basic authentication",
        "4111111111111112",
        "1700000000000",
        "41111111111111111111111",
        "0.4111111111111111",
        "max_tokens=100",
        "token_count: 5",
        "token: str, secret: string",
        "password=",
        "password=null",
        "reset your password in the settings",
        "author: me",
        "shipping: fast",
    ],
)
def test_not_found(text: str) -> None:
    assert DEFAULT_RULES.scan(text, DETECTORS, lambda rule, part: None) == text


def test_matched_parts_are_told() -> None:
    found: list[tuple[str, str]] = []
    DEFAULT_RULES.scan("token=abc AKIAIOSFODNN7EXAMPLE", DETECTORS, lambda rule, part: found.append((rule, part)))
    assert found == [("aws_key", "AKIAIOSFODNN7EXAMPLE"), ("key", "abc")]


@pytest.mark.parametrize(
    "digits",
    ["4222222222222", "378282246310005", "30569309025904", "5555555555554444", "6011111111111117", "3530111333300000"],
)
def test_cards(digits: str) -> None:
    assert is_card(digits) is True
    assert is_card(str(int(digits) + 1)) is False


@given(st.integers(0, 10**15 - 1))
def test_one_digit_in_ten_makes_a_card(number: int) -> None:
    stem = f"4{number:015d}"[:15]
    assert sum(is_card(stem + str(digit)) for digit in range(10)) == 1


@given(st.text())
def test_spans_are_in_order_and_inside(text: str) -> None:
    for find in [*(detector.find for detector in DETECTORS), DEFAULT_RULES.pairs.find]:
        end = 0
        for start, stop in find(text):
            assert end <= start < stop <= len(text)
            end = stop


def test_separates() -> None:
    assert [separates(text) for text in ('{"a":{"b":1},"c":"x-y"}', '{"a":"b:c"}', '{"a":"\\":"}', '["a=b"]')] == [
        False,
        True,
        True,
        True,
    ]


SIZE = 1_000_000
ADVERSARIAL = {
    "eyJ": "eyJ",
    "eyJ.": "eyJ.",
    "eyJaaaaa.": "eyJaaaaa.",
    "pem": "-----BEGIN ",
    "pem begin": "-----BEGIN PRIVATE KEY-----",
    "AKIA": "AKIA",
    "ghp_": "ghp_",
    "github_pat_": "github_pat_",
    "xoxb-": "xoxb-",
    "AIza": "AIza",
    "sk_live_": "sk_live_",
    "sk-": "sk-",
    "sk- long": "sk-" + "a" * 20 + " ",
    "://": "://",
    "://a:": "://a:",
    "://a:@": "://a:@",
    ":@": ":@",
    "bearer ": "bearer ",
    "basic ": "basic abcdef ",
    "4": "4",
    "4 ": "4 ",
    "4444 ": "4444 ",
    "4111-": "4111-",
    "4111111111111112 ": "4111111111111112 ",
    "a": "a",
    "@": "@",
    "-": "-",
    "\\": "\\",
    '"': '"',
}


def timed(call: Callable[[], object]) -> float:
    started = time.process_time()
    call()
    return time.process_time() - started


@pytest.mark.parametrize("name", sorted(ADVERSARIAL))
def test_detectors_are_linear(name: str) -> None:
    text = (ADVERSARIAL[name] * SIZE)[:SIZE]
    for detector in DETECTORS:
        # The aim is 0.15 s for a megabyte; a loaded machine in a test run gets more. Quadratic would be minutes.
        assert timed(lambda: detector.possible(text, text) and list(detector.find(text))) < 1.0, detector.rule  # noqa: B023


@pytest.mark.parametrize(
    "part",
    [
        "token",
        "token ",
        "token=",
        'token="',
        "token:[",
        'token:"\\',
        "token:{'",
        "token=\\",
        "--token ",
        "<token>",
        "pin",
        "apikey",
    ]
    + [
        "api_",
        "key",
        "a",
        "İ",
        "cookie: ",
        "cookie:",
        "token%3D",
        "token     ",
        "token\\\\\\\\\\\\",
        "authorization:\\n",
    ],
)
def test_pairs_are_linear(part: str) -> None:
    # An eighth of a megabyte is what one member of a call is scanned for at most.
    text = (part * SIZE)[: SIZE // 8]
    assert timed(lambda: list(DEFAULT_RULES.pairs.find(text))) < 1.0
    assert timed(lambda: DEFAULT_RULES.pairs.suspects(text, text.lower())) < 1.0
