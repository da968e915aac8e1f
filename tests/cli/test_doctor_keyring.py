# SPDX-License-Identifier: Apache-2.0
"""``doctor`` on the keyring of its own environment: said in words, read only."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from opentelemetry.instrumentation.mcp_audit.cli._keyring import keyring
from opentelemetry.instrumentation.mcp_audit.integrity.keyring import load_or_create

ELSE = "; until then every process uses a key of its own, and its keyed hashes compare with no other's"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys" / "keyring.json"


def told(path: Path, *kids: str) -> list[tuple[str, str]]:
    return [(check.light, check.text) for check in keyring(str(path), kids)]


def test_a_good_one_is_green(path: Path) -> None:
    kid = load_or_create(path).kid
    before = path.stat()
    assert told(path, kid) == [("green", f"{path}: key {kid}, mode 0600")]
    assert path.stat() == before


def test_one_that_is_not_there_yet_is_green_and_not_made(path: Path) -> None:
    assert told(path) == [("green", f"{path} is not there yet; it is made with the first server")]
    assert not path.parent.exists()


def test_one_that_cannot_be_made_is_red(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *arguments: False)
    assert told(path) == [("red", f"{path} is not there and cannot be made in {path.parents[1]}{ELSE}")]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_one_that_is_open_to_others_is_red(path: Path, mode: int) -> None:
    load_or_create(path)
    path.chmod(mode)
    assert told(path) == [("red", f"{path} has mode {mode:04o}, open to others; chmod 0600 it{ELSE}")]
    assert path.stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("content", ["", "{", "[]", '{"keys":[]}', '{"keys":[{"use":"hash","kid":"x","key":"AAAA"}]}'])
def test_one_without_a_usable_key_is_red(path: Path, content: str) -> None:
    path.parent.mkdir()
    path.write_text(content)
    path.chmod(0o600)
    ((light, text),) = told(path)
    assert light == "red"
    assert text.startswith(f"keyring {path}: ") and text.endswith(ELSE)


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (Path.mkdir, "is not a regular file"),
        (os.mkfifo, "is not a regular file"),
        (lambda path: path.symlink_to("nowhere"), "is a link to nothing"),
    ],
)
def test_what_is_no_file_is_red_and_not_opened(path: Path, make: Callable[[Path], None], what: str) -> None:
    path.parent.mkdir()
    make(path)
    assert told(path) == [("red", f"{path} {what}{ELSE}")]


def test_a_file_where_its_directory_should_be_is_red(path: Path) -> None:
    path.parent.write_text("")
    assert told(path) == [("red", f"{path} cannot be read: Not a directory{ELSE}")]


def test_doubts_are_yellow(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kid = load_or_create(path).kid
    path.parent.chmod(0o777)
    owner = path.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    assert told(path, "0a1b2c3d", kid) == [
        ("yellow", f"{path} belongs to user {owner}: run doctor as the user that the server has"),
        ("yellow", f"others can replace {path}: its directory has mode 0777"),
        ("green", f"{path}: key {kid}, mode 0600"),
        (
            "yellow",
            f"running servers use the key 0a1b2c3d, which is not in {path}: their environment is another than this "
            "one, or the file was replaced",
        ),
    ]


def test_servers_with_a_keyring_that_is_gone_are_yellow(path: Path) -> None:
    assert [light for light, _ in told(path, "0a1b2c3d")] == ["green", "yellow"]


def test_a_second_key_of_another_use_is_no_matter(path: Path) -> None:
    kid = load_or_create(path).kid
    content = json.loads(path.read_text())
    content["keys"].insert(0, {"kid": "other", "use": "seal", "key": "?"})
    path.write_text(json.dumps(content))
    assert told(path) == [("green", f"{path}: key {kid}, mode 0600")]
