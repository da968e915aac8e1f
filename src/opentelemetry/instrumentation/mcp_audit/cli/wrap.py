# SPDX-License-Identifier: Apache-2.0
"""``otel-mcp-audit wrap CONFIG``: a desktop client's configuration, rewritten so that its servers run audited."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import Final

import click

from opentelemetry.instrumentation.mcp_audit.render.text import visible

from ._wrapping import DISTRIBUTION, ConfigurationError, Server, unwrap, wrap

_BYTES_MAX: Final = 16 * 1024 * 1024
_BACKUP: Final = ".before-mcp-audit"
_BACKUPS_MAX: Final = 1000

EPILOG = f"""\b
Examples:
  otel-mcp-audit wrap ~/.config/Claude/claude_desktop_config.json
  otel-mcp-audit wrap .vscode/mcp.json --server time
  otel-mcp-audit wrap ~/.cursor/mcp.json --undo

\b
"command": "python", "args": ["server.py"] becomes
"command": "…/otel-mcp-audit", "args": ["run", "--", "python", "server.py"]; everything
else in the file, comments too, stays as it is. uvx and uv run get --with, so that
the environment they make has this package; any other Python needs it installed.
Remote servers (url) and programs that run no Python are left alone and named.
The file before the first change is kept beside it as CONFIG{_BACKUP}.

\b
Exit codes: 0 good, also when there was nothing to do; 1 a server could not be
rewritten, or one named with --server was left alone; 2 the file cannot be used,
then nothing is changed."""


@click.command(epilog=EPILOG)
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--server", "servers", multiple=True, metavar="NAME", help="Only this server; may be given again.")
@click.option("--undo", is_flag=True, help="Take it back: the servers start as they did before.")
@click.option(
    "--with", "requirement", metavar="REQUIREMENT", default=DISTRIBUTION, help="What uv installs beside a server."
)
def command(config: Path, servers: tuple[str, ...], undo: bool, requirement: str) -> None:
    """Rewrite the configuration of an MCP client (Claude Desktop, Cursor, VS Code, …) so that its servers run audited."""
    try:
        target = _target(config)
        before, found = _read(target)
        text = before.decode("utf-8")
        after, told = unwrap(text, servers) if undo else wrap(text, tool(), requirement, servers)
    except UnicodeDecodeError as error:
        raise _Unusable(f"{config}: is no UTF-8 text (byte {error.start})") from None
    except ConfigurationError as error:
        raise _Unusable(visible(f"{config} {error}")) from None
    except OSError as error:
        raise _Unusable(f"{config}: {error.strerror or error}") from None
    if after != text:
        try:
            if not undo:
                click.echo(f"kept as it was: {_keep(target, before, found)}")
            _put(target, after.encode("utf-8"), found)
        except OSError as error:
            raise _Unusable(f"{target}: not changed: {error.strerror or error}") from None
        linked = f" (linked from {config})" if config.is_symlink() else ""
        click.echo(f"rewritten: {target}{linked}; restart the client for it to count")
        if found.st_nlink > 1:
            click.echo(f"{target} had {found.st_nlink} hard links: the other names still have the old text", err=True)
    else:
        click.echo("nothing to change")
    for server in told:
        click.echo(visible(f"  {server.name}: {server.state}{f': {server.why}' if server.why else ''}"))
    raise click.exceptions.Exit(1 if any(_is_bad(server, servers) for server in told) else 0)


class _Unusable(click.ClickException):
    """The file cannot be used."""

    exit_code = 2


def tool() -> str:
    """This command as a client must call it: clients do not have the PATH of a shell, so with its folder."""
    called = Path(sys.argv[0])
    beside = Path(sys.executable).parent / ("otel-mcp-audit.exe" if os.name == "nt" else "otel-mcp-audit")
    found = called if called.stem == "otel-mcp-audit" and called.is_file() else beside
    return os.path.abspath(found) if found.is_file() else "otel-mcp-audit"


def _is_bad(server: Server, named: tuple[str, ...]) -> bool:
    return server.state == "unusable" or (server.state == "left alone" and server.name in named)


def _target(config: Path) -> Path:
    """The file itself: replacing a link would leave the file that it points to as it is."""
    return Path(os.path.realpath(config, strict=True))


def _read(target: Path) -> tuple[bytes, os.stat_result]:
    found = target.stat()
    if not stat.S_ISREG(found.st_mode):
        raise ConfigurationError("is no regular file")
    if found.st_size > _BYTES_MAX:
        raise ConfigurationError(f"is larger than {_BYTES_MAX} bytes")
    with target.open("rb") as file:
        return file.read(), os.fstat(file.fileno())


def _keep(target: Path, content: bytes, found: os.stat_result) -> Path:
    """Keep the file as it was; a copy that is there already with the same content is enough."""
    for number in range(1, _BACKUPS_MAX):
        backup = target.with_name(target.name + _BACKUP + (f".{number}" if number > 1 else ""))
        try:
            _write(backup, content, found)
        except FileExistsError:
            if backup.is_file() and backup.read_bytes() == content:
                return backup
            continue
        return backup
    raise FileExistsError(f"there are {_BACKUPS_MAX} copies beside it")


def _put(target: Path, content: bytes, found: os.stat_result) -> None:
    """Put the new content in the file's place, whole or not at all, unless somebody changed it meanwhile."""
    new = target.with_name(f".{target.name}.{os.getpid()}")
    _write(new, content, found)
    try:
        now = target.stat()
        if (now.st_ino, now.st_size, now.st_mtime_ns) != (found.st_ino, found.st_size, found.st_mtime_ns):
            raise OSError("somebody else has just changed it; try again")
        os.replace(new, target)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    if os.name == "posix":
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _write(path: Path, content: bytes, like: os.stat_result) -> None:
    """A new file with the mode and, where that is allowed, the owner of another one, on the disk when this returns."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if os.name == "posix":
                made = os.fstat(file.fileno())
                if (made.st_uid, made.st_gid) != (like.st_uid, like.st_gid):
                    os.fchown(file.fileno(), like.st_uid, like.st_gid)
                # After the owner: changing that takes set-id bits off.
                os.fchmod(file.fileno(), stat.S_IMODE(like.st_mode))
            os.fsync(file.fileno())
    except BaseException:
        path.unlink(missing_ok=True)
        raise
