# SPDX-License-Identifier: Apache-2.0
"""Fork and ``kill -9``: a child writes a stream of its own, a killed writer leaves a torn tail at most."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from journals import journal, kinds, read, record, segments

from opentelemetry.instrumentation.mcp_audit.integrity.verify import verify_paths

_HELPERS = str(Path(__file__).parents[1] / "helpers")

_FORKING = """
import os, pathlib, sys, threading
sys.path[:0] = [sys.argv[2]]
from journals import journal, record
trail = journal(pathlib.Path(sys.argv[1]), fsync_interval=0.01)
os.register_at_fork(after_in_child=trail.after_fork_in_child)
stop = threading.Event()
def noise():
    turn = 0
    while not stop.is_set():
        trail.append(record(f"noise{turn}")); turn += 1
    print("noise", turn)
thread = threading.Thread(target=noise, daemon=True)
thread.start()
children = []
for child in range(5):
    trail.append(record(f"before{child}"))
    pid = os.fork()
    if pid == 0:
        held = {os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")}
        assert not [name for name in held if name.endswith(".jsonl")], held
        for turn in range(50):
            trail.append(record(f"child{child}.{turn}"))
        trail.close()
        os._exit(0)
    children.append(pid)
    trail.append(record(f"after{child}"))
for pid in children:
    assert os.waitpid(pid, 0)[1] == 0
stop.set()
thread.join()
trail.close()
print("parent", os.getpid(), *children)
"""


def test_children_forked_under_load_have_streams_of_their_own(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FORKING, str(tmp_path), _HELPERS], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    words = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    parent, *children = words["parent"].split()
    files = {path.name.split("-")[1]: read(path) for path in segments(tmp_path)}
    assert sorted(files) == sorted([parent, *children]), "one file each"
    assert verify_paths([tmp_path]).exit_code(strict=True) == 0
    of_parent = kinds(files[parent])
    assert (of_parent[0], of_parent[-1]) == ("opened", "closed")
    assert [name for name in of_parent if name.startswith("noise")] == [f"noise{n}" for n in range(int(words["noise"]))]
    assert [name for name in of_parent if name.startswith(("before", "after"))] == [
        f"{word}{child}" for child in range(5) for word in ("before", "after")
    ]
    for child, pid in enumerate(children):
        assert kinds(files[pid]) == ["opened", *(f"child{child}.{turn}" for turn in range(50)), "closed"]
        assert files[pid][0]["facts"]["mcp_audit.process.pid"] == int(pid)
        assert "mcp_audit.stream.previous_id" not in files[pid][0]["facts"]


def test_a_child_does_not_keep_its_dead_parents_file_locked(tmp_path: Path) -> None:
    """Else a torn tail of the parent would wait for the last of its children to end."""
    script = (
        "import os, pathlib, signal, sys\n"
        "sys.path[:0] = [sys.argv[2]]\n"
        "from journals import journal, record\n"
        "trail = journal(pathlib.Path(sys.argv[1]))\n"
        "os.register_at_fork(after_in_child=trail.after_fork_in_child)\n"
        "trail.append(record('one'))\n"
        "os.write(trail._keeper.current.segment.descriptor, b'torn')\n"
        "if os.fork() == 0:\n"
        "    print(os.getpid(), flush=True); sys.stdin.read(); os._exit(0)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path), _HELPERS], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        assert int(process.stdout.readline()) > 0
        assert process.wait(30) == -signal.SIGKILL
        said: list[str] = []
        trail = journal(tmp_path, said.append, adopts=False)
        trail.append(record("two"))
        trail.adopt()
        trail.close()
        process.stdin.close()
    parents, _own = segments(tmp_path)
    kept = next((tmp_path / "quarantine").iterdir())
    assert said == [
        f"{parents.name}: 4 bytes behind its last whole record set aside in {kept}",
        f"1 dead processes were found in {tmp_path}: 0 calls were recorded as abandoned, 1 segments adopted",
    ]
    assert kept.read_bytes() == b"torn"
    assert [kinds(read(path)) for path in segments(tmp_path)] == [["opened", "one"], ["opened", "two", "closed"]]


def test_the_first_call_of_a_child_is_marked_too(tmp_path: Path) -> None:
    script = (
        "import os, pathlib, signal, sys, time\n"
        "sys.path[:0] = [sys.argv[2]]\n"
        "from journals import journal, record\n"
        "trail = journal(pathlib.Path(sys.argv[1]), adopts=False)\n"
        "os.register_at_fork(after_in_child=trail.after_fork_in_child)\n"
        "trail.append(record('one'))\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    facts = {'audit.record.id': 'id-1', 'mcp_audit.call.id': 'id-1', 'gen_ai.tool.name': 'first'}\n"
        "    assert trail.begin('mcp_audit.tool_call', time.time_ns(), facts, '', '') is not None\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "assert os.waitpid(child, 0)[1] == signal.SIGKILL\n"
        "trail.adopt()\n"
        "trail.close()\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path), _HELPERS], check=True, timeout=60)
    parents, childs = (read(path) for path in segments(tmp_path))
    assert kinds(childs) == ["opened"]
    assert kinds(parents) == ["opened", "one", "first", "closed"]
    facts = parents[2]["facts"]
    assert (facts["audit.record.id"], facts["mcp_audit.outcome.detail"]) == ("id-1", "abandoned")


_KILLED = """
import pathlib, sys
sys.path[:0] = [sys.argv[2]]
from journals import journal, record
trail = journal(pathlib.Path(sys.argv[1]), fsync="never")
turn = 0
while True:
    trail.append(record(f"t{turn}", size=turn % 7 * 1000))
    sys.stdout.write(f"{turn}\\n"); sys.stdout.flush(); turn += 1
"""


def test_kill_9_in_the_middle_of_writes_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    for turn in range(5):
        place = tmp_path / str(turn)
        with subprocess.Popen([sys.executable, "-c", _KILLED, str(place), _HELPERS], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            for _ in range(100 + 37 * turn):
                process.stdout.readline()
            os.kill(process.pid, signal.SIGKILL)
            rest = process.stdout.read()
            process.wait()
        acknowledged = 100 + 37 * turn + rest.count(b"\n")
        (path,) = (item for item in place.glob("*.jsonl") if item.name != "ledger.jsonl")
        data = path.read_bytes()
        torn = data[data.rindex(b"\n") + 1 :]
        trail = journal(place, adopts=False)
        trail.append(record("next"))
        trail.adopt()
        trail.close()
        names = kinds(read(path))
        assert names[0] == "opened"
        assert names[1:] == [f"t{number}" for number in range(len(names) - 1)]
        assert acknowledged <= len(names) - 1 <= acknowledged + 1
        assert verify_paths([place]).exit_code() == 0
        kept = list((place / "quarantine").glob("*")) if torn else []
        assert [item.read_bytes() for item in kept] == ([torn] if torn else [])
