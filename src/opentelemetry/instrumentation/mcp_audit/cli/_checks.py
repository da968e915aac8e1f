# SPDX-License-Identifier: Apache-2.0
"""What ``doctor`` looks at: each check is a function that returns findings, and none changes anything."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import stat
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from opentelemetry.instrumentation.mcp_audit import environment_variables as env
from opentelemetry.instrumentation.mcp_audit.hooks import floor
from opentelemetry.instrumentation.mcp_audit.integrity.parse import StoredRecord
from opentelemetry.instrumentation.mcp_audit.settings import SettingsError, load

Light = Literal["green", "yellow", "red"]

DISTRIBUTION: Final = "opentelemetry-instrumentation-mcp-audit"
_PACKAGES: Final = (
    DISTRIBUTION,
    "mcp",
    "fastmcp",
    "opentelemetry-api",
    "opentelemetry-sdk",
    "opentelemetry-instrumentation",
    "opentelemetry-distro",
    "wrapt",
    "orjson",
)
_ENTRY_POINTS: Final = ("opentelemetry_instrumentor", "opentelemetry_pre_instrument")
_NETWORK: Final = frozenset(
    "nfs nfs4 cifs smb3 smbfs 9p afs ceph glusterfs lustre beegfs gpfs ocfs2 gfs2 ncpfs coda virtiofs "
    "fuse.sshfs fuse.s3fs fuse.gcsfuse fuse.glusterfs fuse.ceph fuse.rclone fuse.juicefs fuse.davfs".split()
)
_FLEETING: Final = {
    "tmpfs": "memory: gone with a reboot",
    "overlay": "a container's own layer: gone with the container",
}
_MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at. ``topic`` groups them; red makes ``doctor`` leave with 1."""

    topic: str
    light: Light
    text: str


def plugin(environ: Mapping[str, str]) -> Iterator[Check]:
    """Is the plugin installed where ``opentelemetry-instrument`` will find it, and is it switched on."""
    for group in _ENTRY_POINTS:
        if not any(point.name == "mcp_audit" for point in importlib.metadata.entry_points(group=group)):
            yield Check(
                "plugin",
                "red",
                f"no entry point {group}: mcp_audit in this environment: opentelemetry-instrument will not load the "
                f"audit; pip install {DISTRIBUTION} into the environment of the server",
            )
    disabled = [name.strip() for name in environ.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "").split(",")]
    if "*" in disabled or "mcp_audit" in disabled:
        yield Check("plugin", "red", "turned off by OTEL_PYTHON_DISABLED_INSTRUMENTATIONS")
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        yield Check("plugin", "green", "OTEL_SDK_DISABLED=true stops spans and log records; the journal goes on")
    try:
        if load(environ).enabled:
            yield Check("plugin", "green", "switched on, as far as this shell's environment says")
        else:
            yield Check("plugin", "red", f"turned off by {env.OTEL_MCP_AUDIT_ENABLED}")
    except SettingsError as error:
        yield Check("settings", "red", str(error))


def packages() -> dict[str, str | None]:
    """Versions of the packages that matter, None for those that are not installed here."""
    return {name: _version(name) for name in _PACKAGES}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def servers(versions: Mapping[str, str | None]) -> Iterator[Check]:
    """Is there an MCP SDK beside us at all, and is it one that is hooked."""
    if versions.get("mcp") is None and versions.get("fastmcp") is None:
        yield Check("packages", "yellow", "neither mcp nor fastmcp in this environment: is this the server's?")
    sdk = versions.get("mcp")
    if sdk is not None and floor.is_below(sdk):
        yield Check("packages", "red", floor.sentence(sdk))


def directory(path: str) -> Iterator[Check]:
    """Can the journal be written, can others read it, on what does it stand, how much room is there."""
    if not os.path.isdir(path):
        above = next((str(parent) for parent in Path(path).parents if parent.is_dir()), "/")
        if os.path.exists(path) or not os.access(above, os.W_OK | os.X_OK):
            yield Check("journal", "red", f"{path} is no directory and cannot be made in {above}")
        else:
            yield Check("journal", "green", f"{path} is not there yet; it is made at the first request")
        path = above
    else:
        yield from _owner(path)
    yield from filesystem(path)
    yield from disk(path)


def _owner(path: str) -> Iterator[Check]:
    status = os.stat(path)
    mode = stat.S_IMODE(status.st_mode)
    text = f"{path}: owner {status.st_uid}, mode {mode:04o}"
    if not os.access(path, os.W_OK | os.X_OK):
        yield Check("journal", "red", f"{text}: this user cannot write there")
    elif mode & 0o007 or mode & 0o020:
        yield Check("permissions", "red", f"{text}: open to others; chmod 0700 (or 0750) it")
    else:
        yield Check("permissions", "green", text)
    files = [(file, file.lstat().st_mode) for file in sorted(Path(path).glob("*.jsonl"))]
    loose = [file for file, found in files if stat.S_ISREG(found) and stat.S_IMODE(found) & 0o027]
    if loose:
        yield Check(
            "permissions", "red", f"{len(loose)} files are open to others, {loose[0]} the first; chmod 0600 them"
        )
    torn = list(Path(path, "quarantine").glob("*"))
    if torn:
        yield Check("journal", "yellow", f"{len(torn)} torn tails set aside in {Path(path, 'quarantine')}")


def filesystem(path: str, mounts: str | None = None) -> Iterator[Check]:
    """The kind of file system under ``path``. ``mounts``: the text of /proc/self/mountinfo, read when None."""
    kind = filesystem_type(path, mounts)
    if kind is None:
        return
    if kind in _NETWORK:
        yield Check(
            "journal", "red", f"{path} is on {kind}, a network filesystem: locks and syncs cannot be relied upon there"
        )
    elif kind in _FLEETING:
        yield Check("journal", "yellow", f"{path} is on {kind}, {_FLEETING[kind]}")
    else:
        yield Check("journal", "green", f"{path} is on {kind}")


def filesystem_type(path: str, mounts: str | None = None) -> str | None:
    """The type of the innermost mount that holds ``path``; None where the system does not tell."""
    if mounts is None:
        try:
            mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return None
    real = os.path.realpath(path)
    best: tuple[int, str | None] = (-1, None)
    for line in mounts.splitlines():
        # proc(5): id parent major:minor root mount-point options [optional…] - type source super-options
        left, separator, right = line.partition(" - ")
        fields = left.split(" ")
        if not separator or len(fields) < 5:
            continue
        point = fields[4].replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
        if (real == point or real.startswith(point.rstrip("/") + "/")) and len(point) >= best[0]:
            best = (len(point), right.split(" ")[0])
    return best[1]


def disk(path: str) -> Iterator[Check]:
    """How much room is left."""
    usage = shutil.disk_usage(path)
    text = f"{usage.free // _MIB} MiB free of {usage.total // _MIB} at {path}"
    light: Light = "green"
    if usage.free < 64 * _MIB:
        light = "red"
    elif usage.free < 1024 * _MIB or usage.free < usage.total // 50:
        light = "yellow"
    yield Check("disk", light, text)


def clock(newest: StoredRecord | None, now: float | None = None) -> Iterator[Check]:
    """Is the time of this machine believable."""
    seconds = time.time() if now is None else now
    if seconds < 1_700_000_000:
        yield Check("clock", "red", f"the clock says {time.strftime('%Y-%m-%d', time.gmtime(seconds))}; it is not set")
    elif newest is not None and newest.time / 1e9 > seconds + 60:
        yield Check("clock", "red", "the newest record is from the future: this clock or the writer's is wrong")
    else:
        yield Check("clock", "green", f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime(seconds))}")
