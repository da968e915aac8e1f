# SPDX-License-Identifier: Apache-2.0
"""`wire` must notice what it is there to notice."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from wire import Impure, NoAnswer, Wire, parse_message


@pytest.mark.parametrize(
    "line",
    [
        b"hello\n",
        b"\n",
        b"[]\n",
        b'{"id":1,"result":{}}\n',
        b'{"jsonrpc":"2.0","id":1}\n',
        b'{"jsonrpc":"2.0","result":{}}\n',
        b'{"jsonrpc":"2.0","id":1,"result":{},"error":{}}\n',
        b'{"jsonrpc":"2.0","id":1,"method":"m","result":{}}\n',
    ],
)
def test_a_line_that_is_no_message_is_impure(line: bytes) -> None:
    with pytest.raises(Impure):
        parse_message(line)


@pytest.mark.parametrize(
    "line",
    [
        b'{"jsonrpc":"2.0","id":1,"result":{}}\n',
        b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"m"}}\n',
        b'{"jsonrpc":"2.0","method":"notifications/message","params":{}}\n',
        b'{"jsonrpc":"2.0","id":7,"method":"roots/list"}\n',
    ],
)
def test_a_message_is_a_message(line: bytes) -> None:
    assert parse_message(line)["jsonrpc"] == "2.0"


SERVER = """
import json, sys
{before}
for line in sys.stdin:
    asked = json.loads(line)
    if "id" in asked:
        print(json.dumps({{"jsonrpc": "2.0", "id": asked["id"], "result": {{"protocolVersion": "2025-06-18"}}}}), flush=True)
{after}
"""


def wire(tmp_path: Path, before: str = "", after: str = "", timeout: float = 20.0) -> Wire:
    code = SERVER.format(before=before, after=after)
    return Wire([sys.executable, "-c", code], dict(os.environ), tmp_path, timeout=timeout)


def test_a_conversation_and_its_end(tmp_path: Path) -> None:
    with wire(tmp_path, after="print('bye', file=sys.stderr); sys.exit(3)") as peer:
        assert peer.initialize() == {"protocolVersion": "2025-06-18"}
        assert peer.request("ping", {})["id"] == 2
    assert peer.ending is not None
    assert (peer.ending.returncode, peer.ending.stderr, peer.ending.killed) == (3, "bye\n", False)


def test_a_print_before_the_first_answer_is_impure(tmp_path: Path) -> None:
    with pytest.raises(Impure, match="starting"), wire(tmp_path, before="print('starting', flush=True)") as peer:
        peer.initialize()


def test_a_print_after_the_last_answer_is_impure(tmp_path: Path) -> None:
    with pytest.raises(Impure, match="bye"), wire(tmp_path, after="print('bye')") as peer:
        peer.initialize()


def test_silence_is_an_error_and_not_a_hang(tmp_path: Path) -> None:
    silent = wire(tmp_path, before="sys.stdin.read()", timeout=0.5)
    with pytest.raises(NoAnswer, match="0.5 s"), silent as peer:
        peer.initialize()


def test_a_server_that_dies_says_why(tmp_path: Path) -> None:
    with (
        pytest.raises(NoAnswer, match="no such luck"),
        wire(tmp_path, before="raise SystemExit('no such luck')") as peer,
    ):
        peer.initialize()
