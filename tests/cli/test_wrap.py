# SPDX-License-Identifier: Apache-2.0
"""``wrap`` on files: kept beside, replaced whole, mode and links as they were, errors that say what is wrong."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from opentelemetry.instrumentation.mcp_audit.cli import wrap as module
from opentelemetry.instrumentation.mcp_audit.cli.app import run

TEXT = '{\n  // mine\n  "mcpServers": {\n    "time": {"command": "python", "args": ["t.py"]},\n    "far": {"url": "https://x"}\n  }\n}\n'
pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes and links of POSIX")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "client.json"
    path.write_bytes(TEXT.encode())
    path.chmod(0o640)
    return path


def server(path: Path, name: str = "time") -> dict[str, object]:
    found: dict[str, object] = json.loads(path.read_text().replace("// mine", ""))["mcpServers"][name]
    return found


def test_wrap_and_undo(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["wrap", str(config)]) == 0
    assert server(config) == {"command": module.tool(), "args": ["run", "--", "python", "t.py"]}
    backup = config.with_name("client.json.before-mcp-audit")
    assert backup.read_text() == TEXT
    assert [path.stat().st_mode & 0o777 for path in (config, backup)] == [0o640, 0o640]
    assert sorted(path.name for path in config.parent.iterdir()) == ["client.json", "client.json.before-mcp-audit"]
    assert capsys.readouterr().out.splitlines() == [
        f"kept as it was: {backup}",
        f"rewritten: {config}; restart the client for it to count",
        "  time: wrapped",
        "  far: left alone: it runs elsewhere: audit it there",
    ]
    before = config.stat().st_mtime_ns
    assert run(["wrap", str(config)]) == 0
    assert (config.stat().st_mtime_ns, len(list(config.parent.iterdir()))) == (before, 2)
    assert capsys.readouterr().out.splitlines()[:2] == ["nothing to change", "  time: already"]
    assert run(["wrap", str(config), "--undo"]) == 0
    assert config.read_bytes() == TEXT.encode()
    assert config.stat().st_mode & 0o777 == 0o640
    assert run(["wrap", str(config), "--undo"]) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "  time: not wrapped",
        "  far: left alone: it runs elsewhere: audit it there",
    ]


def test_what_was_kept_is_never_overwritten(config: Path) -> None:
    run(["wrap", str(config)])
    run(["wrap", str(config), "--undo"])
    run(["wrap", str(config)])
    assert len(list(config.parent.iterdir())) == 2
    run(["wrap", str(config), "--undo"])
    config.write_text(TEXT.replace("mine", "ours"))
    run(["wrap", str(config)])
    assert config.with_name("client.json.before-mcp-audit").read_text() == TEXT
    assert config.with_name("client.json.before-mcp-audit.2").read_text() == TEXT.replace("mine", "ours")


def test_line_ends_and_a_byte_order_mark_stay(config: Path) -> None:
    original = ("\ufeff" + TEXT).replace("\n", "\r\n").encode()
    config.write_bytes(original)
    run(["wrap", str(config)])
    assert config.read_bytes().startswith(b"\xef\xbb\xbf{\r\n  // mine\r\n")
    run(["wrap", str(config), "--undo"])
    assert config.read_bytes() == original


def test_a_link_stays_one_and_its_file_is_rewritten(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    link = config.with_name("link.json")
    link.symlink_to(config.name)
    assert run(["wrap", str(link)]) == 0
    assert os.readlink(link) == "client.json"
    assert server(config)["command"] == module.tool()
    assert f"rewritten: {config} (linked from {link});" in capsys.readouterr().out
    assert config.with_name("client.json.before-mcp-audit").exists()


def test_hard_links_are_told(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = config.with_name("other.json")
    os.link(config, other)
    assert run(["wrap", str(config)]) == 0
    assert other.read_text() == TEXT
    assert "had 2 hard links: the other names still have the old text" in capsys.readouterr().err


def test_a_server_by_name(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["wrap", str(config), "--server", "far"]) == 1
    assert config.read_text() == TEXT
    assert run(["wrap", str(config), "--server", "nobody"]) == 2
    assert "has no server nobody; it has: time, far" in capsys.readouterr().err
    assert run(["wrap", str(config), "--server", "time"]) == 0


def test_one_that_cannot_be_wrapped_keeps_no_other_from_it(config: Path) -> None:
    config.write_text('{"servers": {"a": {"command": "python", "args": ["-I", "x"]}, "b": {"command": "serve"}}}')
    assert run(["wrap", str(config)]) == 1
    assert json.loads(config.read_text())["servers"]["b"]["args"] == ["run", "serve"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no JSON: line 1, column 1: expected a value"),
        (b"\xff\xfe{", "is no UTF-8 text (byte 0)"),
        (b'{"a": 1}', "has no servers: there is no object mcpServers or servers in it"),
        (b'{"mcpServers": {"a\\u001b[31m": {}, "a\\u001b[31m": {}}}', "has more than one server a\\x1b[31m"),
    ],
)
def test_garbage(config: Path, content: bytes, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    config.write_bytes(content)
    assert run(["wrap", str(config)]) == 2
    assert message in capsys.readouterr().err
    assert (config.read_bytes(), len(list(config.parent.iterdir()))) == (content, 1)


def test_no_file_and_no_regular_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    for name, message in (
        ("none", "No such file or directory"),
        ("dangling", "No such file or directory"),
        ("pipe", "is no regular file"),
        (".", "is no regular file"),
    ):
        assert run(["wrap", str(tmp_path / name)]) == 2
        assert message in capsys.readouterr().err


def test_a_change_by_somebody_else_is_not_lost(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keep = module._keep

    def keep_and_change(*arguments: object) -> Path:
        kept = keep(*arguments)  # type: ignore[arg-type]
        config.write_text("changed meanwhile, by the client itself")
        return kept

    monkeypatch.setattr(module, "_keep", keep_and_change)
    assert run(["wrap", str(config)]) == 2
    assert config.read_text() == "changed meanwhile, by the client itself"
    assert "not changed: somebody else has just changed it; try again" in capsys.readouterr().err
    assert len(list(config.parent.iterdir())) == 2


def test_a_full_disk_leaves_the_file_as_it_was(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: object, target: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    assert run(["wrap", str(config)]) == 2
    assert config.read_text() == TEXT
    assert sorted(path.name for path in config.parent.iterdir()) == ["client.json", "client.json.before-mcp-audit"]


def test_the_command_is_written_with_its_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    installed = tmp_path / "otel-mcp-audit"
    installed.touch()
    monkeypatch.setattr(sys, "argv", [str(installed), "wrap"])
    assert module.tool() == str(installed)
    monkeypatch.setattr(sys, "argv", ["-m"])
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    assert module.tool() == str(installed)
    installed.unlink()
    assert module.tool() == "otel-mcp-audit"
