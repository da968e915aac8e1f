# SPDX-License-Identifier: Apache-2.0
"""The local key: made once whoever comes first, refused when it is open to others or garbage."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opentelemetry.instrumentation.mcp_audit.integrity.keyring import (
    HashKey,
    KeyringError,
    ephemeral_key,
    key_id,
    load_or_create,
)


def test_made_at_first_use_and_read_after(tmp_path: Path) -> None:
    path = tmp_path / "root" / "keyring.json"
    made = load_or_create(path)
    assert load_or_create(path) == made
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    content = json.loads(path.read_text())
    (entry,) = content["keys"]
    assert content["version"] == 1
    assert entry == {"kid": made.kid, "use": "hash", "key": base64.b64encode(made.key).decode()}
    assert len(made.key) == 32
    assert made.kid == hashlib.sha256(made.key).hexdigest()[:8]
    assert [item.name for item in path.parent.iterdir()] == ["keyring.json"], "no temporary file is left"


def test_the_fixed_form_of_a_keyed_hash() -> None:
    key = HashKey("abcd1234", b"k" * 32)
    digest = hmac.new(b"k" * 32, "é\U0001f600".encode(), "sha256").hexdigest()
    assert key.hash("é\U0001f600") == f"hmac-sha256:abcd1234:{digest}"
    assert key.hash("a") != HashKey("abcd1234", b"l" * 32).hash("a")
    assert key.hash("\ud800").startswith("hmac-sha256:abcd1234:"), "half a surrogate pair from a client raises nothing"


def test_an_ephemeral_key_says_so() -> None:
    one, other = ephemeral_key(), ephemeral_key()
    assert one.kid == f"ephemeral-{key_id(one.key)}"
    assert len(one.key) == 32 and one.key != other.key


_RACER = """
import pathlib, sys, time
from opentelemetry.instrumentation.mcp_audit.integrity.keyring import load_or_create
print("ready", flush=True)
sys.stdin.readline()
print(load_or_create(pathlib.Path(sys.argv[1])).kid, flush=True)
"""


def test_processes_that_race_end_with_one_key(tmp_path: Path) -> None:
    for turn in range(3):
        path = tmp_path / str(turn) / "keyring.json"
        racers = [
            subprocess.Popen(
                [sys.executable, "-c", _RACER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for _ in range(4)
        ]
        for racer in racers:
            assert racer.stdout is not None and racer.stdout.readline() == "ready\n"
        for racer in racers:
            assert racer.stdin is not None
            racer.stdin.write("\n")
            racer.stdin.flush()
        kids = [racer.communicate(timeout=30)[0].strip() for racer in racers]
        assert kids == [load_or_create(path).kid] * 4
        assert [item.name for item in path.parent.iterdir()] == ["keyring.json"]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o601])
def test_a_key_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "keyring.json"
    load_or_create(path)
    path.chmod(mode)
    with pytest.raises(KeyringError, match=f"keyring {path}: open to others; chmod it to 0600"):
        load_or_create(path)


def _stored(path: Path, text: bytes) -> Path:
    path.write_bytes(text)
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"[" * 100_000,
        b"\xff\xfe",
        b'{"keys": 5}',
        b'{"keys": "ab"}',
        b'{"keys": [1]}',
        b'{"keys": ["hash"]}',
        b'{"keys": {"use": "hash"}}',
        b'{"keys": []}',
        b'{"keys": [{"use": "seal", "key": "AAAA"}]}',
        b'{"keys": [{"use": "hash"}]}',
        b'{"keys": [{"use": "hash", "key": 7}]}',
        b'{"keys": [{"use": "hash", "key": "not base64!"}]}',
        b'{"keys": [{"use": "hash", "key": "AAAA"}]}',
    ],
    ids=range(17),
)
def test_garbage_is_refused_and_kept(tmp_path: Path, text: bytes) -> None:
    path = _stored(tmp_path / "keyring.json", text)
    with pytest.raises(KeyringError, match=f"keyring {path}: "):
        load_or_create(path)
    assert path.read_bytes() == text, "what somebody may still need is not replaced"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["keys", "use", "key", "kid"]), inner, max_size=4)
        ),
        max_leaves=12,
    )
)
def test_any_json_is_a_key_or_a_keyring_error(tmp_path: Path, value: object) -> None:
    path = _stored(tmp_path / "keyring.json", json.dumps({"keys": [value]}).encode())
    with pytest.raises(KeyringError):
        load_or_create(path)


def test_keys_of_other_uses_may_stand_beside(tmp_path: Path) -> None:
    key = base64.b64encode(b"k" * 32).decode()
    text = json.dumps({"keys": [{"use": "seal", "key": "AA=="}, {"use": "hash", "kid": "wrong", "key": key}]})
    assert load_or_create(_stored(tmp_path / "keyring.json", text.encode())) == HashKey(key_id(b"k" * 32), b"k" * 32)


def test_where_none_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(KeyringError):
        load_or_create(tmp_path / "file" / "keyring.json")
    (tmp_path / "keyring.json").mkdir()
    with pytest.raises(KeyringError):
        load_or_create(tmp_path / "keyring.json")
    assert os.listdir(tmp_path / "keyring.json") == []
