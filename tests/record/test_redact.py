# SPDX-License-Identifier: Apache-2.0
"""Which names are sensitive, and how echoes are masked."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from opentelemetry.instrumentation.mcp_audit.record.detectors import DETECTORS
from opentelemetry.instrumentation.mcp_audit.record.echoes import REMEMBERED_MAX, Echoes
from opentelemetry.instrumentation.mcp_audit.record.redact import Redaction, leaves
from opentelemetry.instrumentation.mcp_audit.record.rules import DEFAULT_RULES, RedactionRules

SENSITIVE = """password Password PASSWORD passwd passphrase passcode db_password userPassword user-password pass db_pass pwd
secret secrets client_secret clientSecret CLIENT-SECRET secret_id token tokens access_token accessToken accesstoken
refreshToken session_token sessionToken x-csrf-token bot_token2 jwt bearer authorization Authorization auth oauth2_auth
api_key apiKey APIKey apikey API-KEY x-api-key X_API_KEY api.key access_key accessKeyId AWS_SECRET_ACCESS_KEY private_key
privateKeyPem ssh_key encryptionKey signing_key credential credentials userCredentials cookie cookies Set-Cookie ssn
user_ssn SSN ssn_last4 social_security_number socialSecurityNumber cvv cvv2 cvc card_cvv securityCode pin user_pin userPin
otp totp connection_string connectionString conn_str dsn seed_phrase authorization_code secretAccessKey""".split()
ORDINARY = """name user key keys monkey keyboard key_id public_key_id author authors authored_by authenticated oauth
authority max_tokens maxTokens total_tokens tokens_used prompt_tokens completionTokens token_count tokenCount token_type
token_limit token_usage num_tokens tokenizer tokenization input_tokens_total token_url token_endpoint expires_in secretary
passenger passage compass pass_rate bypass pins pinned pin_id shipping opinion auth_type auth_method cookie_policy spin
password_policy password_length secret_type session session_id id note text description url cursor limit connection""".split()


@pytest.mark.parametrize("name", SENSITIVE)
def test_sensitive(name: str) -> None:
    assert DEFAULT_RULES.sensitive(name) is True


@pytest.mark.parametrize("name", [*ORDINARY, "", "$", "\u00e9", "1"])
def test_ordinary(name: str) -> None:
    assert DEFAULT_RULES.sensitive(name) is False


@pytest.mark.parametrize(
    "name", ["api key", "API  Key", "social security", "connection string", "\uff50\uff41\uff53\uff53word"]
)
def test_spelled_otherwise(name: str) -> None:
    assert DEFAULT_RULES.sensitive(name) is True


def test_own_rules() -> None:
    rules = RedactionRules(keys=("patient id", "mrn"), detectors=())
    assert [rules.sensitive(name) for name in ("patientId", "mrn", "user_mrn", "password", "mrnx")] == [
        True,
        True,
        True,
        False,
        False,
    ]
    assert rules.scan("mrn=1234567 password=x", (), lambda rule, part: None) == "mrn=[REDACTED:key] password=x"
    assert RedactionRules(keys=(), detectors=()).scan("password=x", (), lambda rule, part: None) == "password=x"
    assert rules == RedactionRules(keys=("patient id", "mrn"), detectors=()) and hash(rules)


def test_what_is_remembered_about_names_is_bounded() -> None:
    rules = RedactionRules()
    for number in range(3):
        rules.clean_names(f"name{number}x{index}" for index in range(4_000))
    assert len(rules.known_keys) <= 4_096 and len(rules._judged) <= 4_096
    assert rules.clean_names(["n" * 1_000]) is True and "n" * 1_000 not in rules.known_keys


def redact(value: Any) -> tuple[Any, list[tuple[Any, str]], Echoes]:
    notes: list[tuple[Any, str]] = []
    echoes = Echoes(DEFAULT_RULES.marker)
    redaction = Redaction(DEFAULT_RULES, echoes, lambda path, rule: notes.append((path, rule)))
    return redaction.everything(value, (), json.dumps(value)), notes, echoes


def test_every_depth_and_type() -> None:
    value = {"a": [{"password": 5}, {"token": [1, "x"]}, {"secret": {"k": 1.5}}], "note": "ok"}
    tree, notes, _ = redact(value)
    assert tree == {
        "a": [{"password": "[REDACTED:key]"}, {"token": "[REDACTED:key]"}, {"secret": "[REDACTED:key]"}],
        "note": "ok",
    }
    assert notes == [
        ((((((), "a"), 0), "password")), "key"),
        ((((((), "a"), 1), "token")), "key"),
        ((((((), "a"), 2), "secret")), "key"),
    ]
    assert value["a"][0] == {"password": 5}


def test_redacted_twice_is_redacted_once() -> None:
    once, _, _ = redact({"password": "hunter2-secret", "t": "token=abc https://u:pw@h Bearer abcd1 4111111111111111"})
    twice, notes, echoes = redact(once)
    assert twice == once and notes == [] and not echoes


def test_leaves() -> None:
    assert list(leaves({"a": ["x", 1, 2.5, None, True], "b": {"c": "y"}})) == ["x", "1", "2.5", "y"]


@pytest.mark.parametrize("secret", ["hunter2", 'a"b\\c/d e', "p\u00e4ss-w\u00f6rd&1", "line\nbreak1", "a+b=c%d"])
def test_echoes_in_every_spelling(secret: str) -> None:
    echoes = Echoes(DEFAULT_RULES.marker)
    assert not echoes
    echoes.remember(secret)
    assert echoes
    nested = json.dumps({"x": secret})
    for text in (
        secret,
        nested,
        json.dumps(nested),
        json.dumps({"x": secret}, ensure_ascii=False),
        quote(secret),
        quote(secret, safe=""),
        quote_plus(secret),
        re.sub("%..", lambda match: match.group().lower(), quote(secret, safe="")),
    ):
        masked = echoes.mask(f"<{text}>")
        assert "[REDACTED:echo]" in masked and secret not in masked, text
        assert echoes.in_json(json.dumps(text, ensure_ascii=False))


def test_echoes_leave_markers_and_short_values_alone() -> None:
    echoes = Echoes(DEFAULT_RULES.marker)
    for value in ("short", "  abc ", "string", "[REDACTED:key]", "x" * 70_000, ""):
        echoes.remember(value)
    assert not echoes
    echoes.remember("github")
    echoes.remember("REDACTED")
    assert echoes.mask("github [REDACTED:github_token] REDACTED") == (
        "[REDACTED:echo] [REDACTED:github_token] [REDACTED:echo]"
    )


def test_the_longest_echo_wins_and_their_number_is_bounded() -> None:
    echoes = Echoes(DEFAULT_RULES.marker)
    echoes.remember("hunter2")
    echoes.remember("hunter2-secret")
    assert echoes.mask("a hunter2-secret b hunter2") == "a [REDACTED:echo] b [REDACTED:echo]"
    for number in range(1_000):
        echoes.remember(f"value{number:04}")
    assert (
        sum(f"value{number:04}" not in echoes.mask(f"value{number:04}") for number in range(1_000))
        == REMEMBERED_MAX - 2
    )


def test_the_rules_of_the_manifest_are_known() -> None:
    assert [detector.rule for detector in DETECTORS] == [
        *("private_key", "jwt", "aws_key", "github_token", "slack_token", "google_key", "stripe_key", "model_key"),
        *("url_credentials", "bearer", "card"),
    ]
