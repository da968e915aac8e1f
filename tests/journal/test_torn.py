# SPDX-License-Identifier: Apache-2.0
"""How far a dead segment is whole: a kill leaves half a line at most, a power cut leaves holes, the rest is kept aside."""

from __future__ import annotations

import copy
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trail_oracle import Trail, attribute, sample

from opentelemetry.instrumentation.mcp_audit.journal import torn
from opentelemetry.instrumentation.mcp_audit.journal.disk import REAL_DISK, RealDisk

TRAIL = sample(6)
LINES = TRAIL.lines()
HEADS = [attribute(record, "mcp_audit.record.hash")["stringValue"] for record in TRAIL.records]


@contextmanager
def opened(directory: Path, data: bytes) -> Iterator[int]:
    (directory / TRAIL.name).write_bytes(data)
    descriptor = REAL_DISK.open(directory / TRAIL.name, append=False)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def whole(data: bytes, same_boot: bool) -> torn.Whole:
    with tempfile.TemporaryDirectory() as name, opened(Path(name), data) as descriptor:
        return torn.whole_part(descriptor, same_boot)


def expected(count: int, size: int) -> torn.Whole:
    return torn.Whole(
        count, HEADS[count - 1] if count else None, count == len(LINES), sum(map(len, LINES[:count])), size
    )


@settings(max_examples=60, deadline=None)
@given(count=st.integers(0, len(LINES)), cut=st.integers(0, min(map(len, LINES)) - 1), same_boot=st.booleans())
def test_any_cut_of_the_last_line(count: int, cut: int, same_boot: bool) -> None:
    data = b"".join(LINES[:count]) + LINES[count % len(LINES)][:cut]
    assert whole(data, same_boot) == expected(count, len(data))


@settings(max_examples=80, deadline=None)
@given(
    count=st.integers(0, len(LINES) - 2),
    start=st.integers(0, 400),
    length=st.integers(1, 3000),
    zero=st.booleans(),
)
def test_a_power_cut_leaves_a_hole(count: int, start: int, length: int, zero: bool) -> None:
    """A run of zeros or garbage that begins in line ``count + 1`` and ends wherever; whole lines stand behind it."""
    data = bytearray(b"".join(LINES))
    at = sum(map(len, LINES[:count])) + start
    end = min(at + length, len(data) - len(LINES[-1]))
    data[at:end] = b"\0" * (end - at) if zero else b"\xfe" * (end - at)
    assert whole(bytes(data), False) == expected(count, len(data))


@pytest.mark.parametrize("missing", range(1, len(LINES) - 1))
def test_a_missing_number_ends_it(missing: int) -> None:
    data = b"".join(line for index, line in enumerate(LINES) if index != missing)
    assert whole(data, False) == expected(missing, len(data))


def test_a_block_of_another_file_ends_it() -> None:
    other = sample(6, stream="6f1d1c1e-0000-4000-8000-00000000ffff").lines()
    data = b"".join(LINES[:3]) + b"".join(other[3:])
    assert whole(data, False) == expected(3, len(data))


def test_an_empty_line_and_a_line_too_long_end_it() -> None:
    for hole in (b"\n", b"x" * 600_000 + b"\n", b"{}\n", LINES[0][:-1] + LINES[1]):
        data = b"".join(LINES[:4]) + hole + b"".join(LINES[4:])
        assert whole(data, False) == expected(4, len(data))


def test_what_no_crash_does_is_left_for_verify() -> None:
    """A record with a wrong hash, or one that comes twice, is somebody's work and no hole."""
    edited = copy.deepcopy(TRAIL.records[2])
    attribute(edited, "gen_ai.tool.name")["stringValue"] = "forged"
    data = b"".join([*LINES[:2], TRAIL.line(edited), *LINES[3:]])
    assert whole(data, False) == expected(len(LINES), len(data))
    data = b"".join([*LINES[:3], LINES[1], *LINES[3:]])
    assert whole(data, False)[:3] == expected(len(LINES), 0)[:3]
    assert whole(data, False).end == len(data)


def test_after_a_kill_garbage_between_whole_lines_is_left_too() -> None:
    data = b"".join(LINES[:3]) + b"garbage\n" + LINES[3][:50]
    assert whole(data, True) == expected(3, len(data))._replace(end=len(data) - 50)
    assert whole(b"garbage\n" * 3, True) == torn.Whole(0, None, False, 24, 24)


@pytest.mark.parametrize("same_boot", [True, False])
def test_nothing_whole(same_boot: bool) -> None:
    for data in (b"", b"\0" * 200_000, b"x", LINES[0][:-1], b"\xff" * 3_000_000):
        assert whole(data, same_boot) == torn.Whole(0, None, False, 0, len(data))


def test_the_rest_is_kept_aside(tmp_path: Path) -> None:
    data = b"".join(LINES[:3]) + b"\0" * 5000 + b"".join(LINES[4:])
    with opened(tmp_path, data) as descriptor:
        found = torn.whole_part(descriptor, False)
        assert torn.set_aside(REAL_DISK, descriptor, found, tmp_path, TRAIL.name)[0] == len(data) - found.end
        assert (tmp_path / TRAIL.name).read_bytes() == b"".join(LINES[:3])
        kept = tmp_path / "quarantine" / f"{TRAIL.name}.{found.end}.torn"
        assert kept.read_bytes() == data[found.end :]
        assert kept.stat().st_mode & 0o777 == 0o600
        assert kept.parent.stat().st_mode & 0o777 == 0o700
        again = torn.whole_part(descriptor, False)
        assert again == found._replace(size=found.end)
        assert torn.set_aside(REAL_DISK, descriptor, again, tmp_path, TRAIL.name) == (len(data) - found.end, None)
        assert len(list(kept.parent.iterdir())) == 1, "once is enough"


def test_a_whole_segment_is_only_synced(tmp_path: Path) -> None:
    synced: list[int] = []

    class Watched(RealDisk):
        def sync(self, descriptor: int) -> None:
            synced.append(descriptor)

    with opened(tmp_path, b"".join(LINES)) as descriptor:
        found = torn.whole_part(descriptor, True)
        assert torn.set_aside(Watched(), descriptor, found, tmp_path, TRAIL.name) == (0, None)
        assert synced == [descriptor]
    assert [path.name for path in tmp_path.iterdir()] == [TRAIL.name]


def test_killed_at_any_step_and_done_again(tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    class Dying(RealDisk):
        left = 0

        def _step(self) -> None:
            self.left -= 1
            if self.left < 0:
                raise Killed

        def create(self, path: Path, *, append: bool) -> int:
            self._step()
            return super().create(path, append=append)

        def write(self, descriptor: int, data: bytes) -> int:
            if self.left == 0:
                super().write(descriptor, data[: len(data) // 2])
            self._step()
            return super().write(descriptor, data)

        def truncate(self, descriptor: int, size: int) -> None:
            self._step()
            super().truncate(descriptor, size)

        def sync(self, descriptor: int) -> None:
            self._step()
            super().sync(descriptor)

        def sync_directory(self, path: Path) -> None:
            self._step()
            super().sync_directory(path)

    data = b"".join(LINES[:3]) + LINES[3][:200]
    disk, steps, finished = Dying(), 0, False
    while not finished:
        place = tmp_path / str(steps)
        place.mkdir()
        disk.left = steps
        with opened(place, data) as descriptor:
            try:
                torn.set_aside(disk, descriptor, torn.whole_part(descriptor, True), place, TRAIL.name)
                finished = True
            except Killed:
                steps += 1
            found = torn.whole_part(descriptor, True)
            assert torn.set_aside(REAL_DISK, descriptor, found, place, TRAIL.name)[0] == 200
        assert (place / TRAIL.name).read_bytes() == b"".join(LINES[:3])
        assert data[-200:] in [path.read_bytes() for path in (place / "quarantine").iterdir()]
    assert steps >= 5


def test_a_quarantine_that_cannot_be_is_an_error_and_nothing_is_cut(tmp_path: Path) -> None:
    (tmp_path / "quarantine").write_text("a file where the directory should be")
    with opened(tmp_path, LINES[0] + b"torn") as descriptor:
        with pytest.raises(OSError):
            torn.set_aside(REAL_DISK, descriptor, torn.whole_part(descriptor, True), tmp_path, TRAIL.name)
    assert (tmp_path / TRAIL.name).read_bytes() == LINES[0] + b"torn"


def test_a_long_segment_is_read_in_pieces(tmp_path: Path) -> None:
    trail = Trail()
    for number in range(40):
        trail.call(f"tool_{number}", body='{"arguments":"' + "x" * 60_000 + '","salt":"00"}')
    lines = trail.lines()
    with opened(tmp_path, b"".join(lines) + b"half") as descriptor:
        for same_boot in (True, False):
            found = torn.whole_part(descriptor, same_boot)
            assert (found.number, found.head, found.ended) == (41, trail.head, False)
            assert (found.end, found.size) == (sum(map(len, lines)), sum(map(len, lines)) + 4)
