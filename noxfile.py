# SPDX-License-Identifier: Apache-2.0
"""Every check of this project, each in an environment of its own. `make test` runs all; `nox -l` lists them.

nox -s core            the tests of the core on the oldest and the newest Python found, one on the oldest OpenTelemetry
nox -s stacks          the coverage matrix, once a stack: mcp 1.x and 2.x, fastmcp 2, 3 and 4
nox -s fuzz            a small share of the fuzz of the wire
nox -s below_floor     an MCP SDK older than the oldest supported one
nox -s coverage_page   docs/coverage.md, from the results of `stacks`
nox -s disasters       power cuts, kills, full disks: a share of each campaign
nox -s servers         published servers that this project did not write
nox -s sink            the sink into real PostgreSQL, MariaDB and SQLite
nox -s collector       the Collector's configurations with the real Collector, which is built when it was not yet
nox -s launch          every way to start a server that the README names
nox -s peers           other instrumentations in the same process
nox -s foreign         clients that this project did not write: TypeScript, the conformance suite (needs node and npm)
nox -s lint package    style and types; the wheel as a user installs it
nox -s faults          on demand (`make faults`): the fault table, stock and ours; 20 minutes; writes docs/faults.md
nox -s performance     on demand (`make performance`): the sinks' throughput; writes docs/performance.md
nox -s kills           on demand (`make kills`): 500 kills of servers under load, 1000 restarts
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import nox

nox.needs_version = ">=2025.5.1"
nox.options.default_venv_backend = "uv"
nox.options.sessions = [
    "lint",
    "package",
    "core",
    "disasters",
    "stacks",
    "below_floor",
    "fuzz",
    "servers",
    "sink",
    "collector",
    "launch",
    "peers",
    "foreign",
]
nox.options.error_on_external_run = True
# Machines for CI often ask for no bytecode: then each of the hundreds of processes that the tests start compiles all
# that it imports, which is half of its time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# What a shell starts in the background ignores SIGINT, and so would all that the tests start and then interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

PROJECT = "opentelemetry-instrumentation-mcp-audit"
# Directories of tests that have a session of their own.
ELSEWHERE = ["coverage", "servers", "floor", "fuzz", "sink", "relay", "collector", "launch", "peers", "foreign"]
ELSEWHERE += ["crash", "faults"]
SUPPORTED = ["3.10", "3.11", "3.12", "3.13", "3.14"]
OLDEST_OTEL = [
    "opentelemetry-api==1.39.0",
    "opentelemetry-sdk==1.39.0",
    "opentelemetry-instrumentation==0.60b0",
    "opentelemetry-distro==0.60b0",
]
NEWEST_OTEL = ["opentelemetry-distro"]
# The columns of docs/coverage.md, each in an environment of its own: both generations on both ends of OpenTelemetry.
STACKS = {
    "mcp2": ["mcp==2.3.0", *NEWEST_OTEL],
    "mcp21": ["mcp==2.1.1", *NEWEST_OTEL],
    "mcp20": ["mcp==2.0.1", *OLDEST_OTEL],
    "mcp1": ["mcp==1.30.0", *NEWEST_OTEL],
    "mcp127": ["mcp==1.27.2", *NEWEST_OTEL],
    "mcp124": ["mcp==1.24.0", *OLDEST_OTEL],
    # Not the newest: the newest fastmcp asks for a certifi that package indexes do not all have.
    "fastmcp4": ["fastmcp[tasks]==4.1.2", "mcp==2.3.0", *NEWEST_OTEL],
    "fastmcp3": ["fastmcp[tasks]==3.4.10", "mcp==1.30.0", *NEWEST_OTEL],
    "fastmcp2": ["fastmcp[tasks]==2.14.7", "mcp==1.30.0", *OLDEST_OTEL],
}
# One of each generation: the wire is the SDK's.
FUZZED = ["mcp2", "mcp1"]
# The last one that is not supported.
BELOW_FLOOR = "mcp==1.23.3"
# One file a stack: how the cells of its matrix ended.
CELLS = Path(__file__).parent / ".nox" / "coverage"
CORE_STACK = ["mcp==2.3.0"]


def answers(interpreter: Path, version: str) -> bool:
    """Whether this file is a Python of that version that starts: a version manager's shim may exist and still fail."""
    probe = [str(interpreter), "-c", "import sys, venv, ssl; print('%d.%d' % sys.version_info[:2])"]
    try:
        done = subprocess.run(probe, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL)
    except OSError:
        return False
    return done.returncode == 0 and done.stdout.strip() == version


def candidates(version: str) -> list[Path]:
    """Where a Python of this version may be: on PATH, or among the versions that the owner of a shim on PATH keeps."""
    folders = [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep) if folder]
    kept = [folder.parent / "versions" for folder in folders if folder.name == "shims"]
    kept += [Path(root) / "versions" for root in [os.environ.get("PYENV_ROOT", "")] if root]
    found = [folder / f"python{version}" for folder in folders]
    found += [home / "bin" / f"python{version}" for root in kept for home in sorted(root.glob(f"{version}.*"))]
    return [path for path in dict.fromkeys(found) if path.exists()]


def interpreters() -> dict[str, str]:
    """Each supported version that is on this machine, with the path of its interpreter, oldest first."""
    found = {}
    for version in SUPPORTED:
        for path in candidates(version):
            if answers(path, version):
                found[version] = str(path)
                break
    return found


FOUND = interpreters()
ABSENT = [version for version in SUPPORTED if version not in FOUND]
if not FOUND:
    raise SystemExit(f"none of Python {', '.join(SUPPORTED)} is on PATH")
OLDEST, NEWEST = min(FOUND, key=SUPPORTED.index), max(FOUND, key=SUPPORTED.index)
ENDS = list(dict.fromkeys([OLDEST, NEWEST]))
# Everything that is not about Python versions runs on one in the middle, which most servers ask for at least.
MAIN = FOUND.get("3.12") or FOUND.get("3.11") or FOUND[NEWEST]


def pytest(session: nox.Session, *arguments: str, workers: int = 2) -> None:
    """Run pytest as everywhere: 120 s a test, what is slow told, whatever was given after `--` at the end.

    `workers`: tests at a time. Two are for a machine of two cores; more where tests wait for processes and clocks.
    """
    # loadgroup: the tests of one published server stay together, all others go to whoever is free.
    options = ["--timeout=120", f"--numprocesses={workers}", "--dist=loadgroup", "--durations=15"]
    session.run("python", "-m", "pytest", *options, *arguments, *session.posargs)


def install(session: nox.Session, group: str, *requirements: str, extras: str = "cli,fast") -> None:
    """The project from the checkout, editable, with a dependency group and what else is asked for, in one resolution."""
    groups = nox.project.dependency_groups(nox.project.load_toml("pyproject.toml"), group)
    session.install("-e", f".[{extras}]", *groups, *requirements)


@nox.session
@nox.parametrize("python", [FOUND[version] for version in ENDS], ids=ENDS)
def core(session: nox.Session) -> None:
    """All tests but those that have a session of their own, on the oldest and the newest Python found.

    A few campaigns, each as long as a hundred other tests, run on the newest alone (`one_python`).
    """
    oldest_otel = session.python == FOUND[OLDEST]
    session.log(f"Python found: {', '.join(FOUND)}; absent: {', '.join(ABSENT) or 'none'}; runs on: {', '.join(ENDS)}")
    session.log(f"OpenTelemetry: {'the oldest supported, 1.39.0/0.60b0' if oldest_otel else 'the newest'}")
    install(
        session,
        "test",
        *CORE_STACK,
        *(OLDEST_OTEL if oldest_otel else [*NEWEST_OTEL, "opentelemetry-configuration"]),
    )
    chosen = [] if session.python == FOUND[NEWEST] else ["-m", "not one_python"]
    pytest(session, "tests", *(f"--ignore=tests/{name}" for name in ELSEWHERE), *chosen, workers=3)


@nox.session(python=MAIN)
@nox.parametrize("stack", list(STACKS), ids=list(STACKS))
def stacks(session: nox.Session, stack: str) -> None:
    """The coverage matrix on one SDK; how each cell ended is kept for `coverage_page`."""
    install(session, "test", *STACKS[stack])
    session.env["MCP_AUDIT_COVERAGE_STACK"] = stack
    if not session.posargs:
        # A part of the tests makes no column.
        session.env["MCP_AUDIT_COVERAGE_CELLS"] = str(CELLS / f"{stack}.json")
    pytest(session, "tests/coverage", workers=3)


@nox.session(python=MAIN)
@nox.parametrize("stack", FUZZED, ids=FUZZED)
def fuzz(session: nox.Session, stack: str) -> None:
    """The wire, fed with anything: a small seeded share, `MCP_AUDIT_FUZZ=100000 nox -s fuzz` the whole."""
    install(session, "test", *STACKS[stack])
    # The reports of memory belong to servers that have a machine for themselves: one wire after the other.
    session.run("python", "-m", "pytest", "tests/fuzz", *session.posargs)


@nox.session(python=MAIN)
def below_floor(session: nox.Session) -> None:
    """An SDK that is too old: not hooked, said aloud, its server unharmed."""
    install(session, "test", BELOW_FLOOR, *NEWEST_OTEL)
    pytest(session, "tests/floor")


@nox.session(venv_backend="none")
def coverage_page(session: nox.Session) -> None:
    """docs/coverage.md from what the last run of `stacks` left; `-- --check` compares instead of writing."""
    results = [str(CELLS / f"{stack}.json") for stack in STACKS]
    session.run(sys.executable, "tests/helpers/coverage_report.py", "docs/coverage.md", *results, *session.posargs)


@nox.session(python=MAIN)
def servers(session: nox.Session) -> None:
    """Published MCP servers under `opentelemetry-instrument`, each in an environment of its own."""
    install(session, "servers")
    pytest(session, "tests/servers")


@nox.session(python=MAIN)
def disasters(session: nox.Session) -> None:
    """A seeded share of the campaigns: what a crash may leave, real kills under load, disks that are full."""
    install(session, "test", *CORE_STACK, *NEWEST_OTEL)
    # Delivery's faults are in `collector`, which has the exporter of the stock pipeline.
    pytest(session, "tests/crash", "tests/faults", "--ignore=tests/faults/delivery")


@nox.session(python=MAIN)
def sink(session: nox.Session) -> None:
    """What keeps records in databases: real servers, started by the tests (Debian: postgresql, mariadb-server)."""
    install(session, "sink", extras="cli,fast,sql,relay")
    session.run("collector-config/distribution/build.sh", external=True)
    pytest(session, "tests/sink", "tests/relay")


@nox.session(python=MAIN)
def collector(session: nox.Session) -> None:
    """`collector-config/` with the real Collector. The binary is built first, outside of any test's time limit."""
    install(session, "clickhouse", *CORE_STACK, extras="cli,fast,otel,sql,relay")
    session.run("collector-config/distribution/build.sh", external=True)
    session.run("tests/helpers/kafka/fetch.sh", external=True)
    # Protobuf and gRPC by the official classes, and the stock pipeline of the fault table, which this session has.
    official = ["tests/delivery/test_protobuf.py", "tests/delivery/test_grpc.py", "tests/faults/delivery"]
    pytest(session, "tests/collector", *official, workers=3)


@nox.session(python=MAIN)
def faults(session: nox.Session) -> None:
    """Every fault for the stock pipeline and for ours; with arguments after `--`, those of the campaign."""
    install(session, "test", *CORE_STACK, *NEWEST_OTEL, "uvicorn-worker", extras="cli,fast,otel")
    session.run("collector-config/distribution/build.sh", external=True)
    session.run("python", "tests/faults/delivery/campaign.py", *(session.posargs or ["--write", "docs/faults.md"]))


@nox.session(python=MAIN)
def performance(session: nox.Session) -> None:
    """How fast each sink is; with arguments after `--`, those of benchmarks/performance.py."""
    install(session, "clickhouse", *CORE_STACK, extras="cli,fast,otel,sql,relay")
    session.run("collector-config/distribution/build.sh", external=True)
    session.run("tests/helpers/kafka/fetch.sh", external=True)
    session.run("python", "benchmarks/performance.py", *(session.posargs or ["--write", "docs/performance.md"]))


@nox.session(python=MAIN)
def kills(session: nox.Session) -> None:
    """The whole kill campaign and the restarts: KILLS RESTARTS [SEED]. The tests of the core run a share of both."""
    install(session, "test", *CORE_STACK, "opentelemetry-distro")
    killed, restarted, *seed = session.posargs or ["500", "1000"]
    seeded = ["--seed", *seed] if seed else []
    session.run("python", "tests/faults/campaign.py", "--kills", killed, *seeded)
    session.run("python", "tests/faults/restarts.py", "--restarts", restarted, *seeded)


@nox.session(python=MAIN)
def launch(session: nox.Session) -> None:
    """Every way to start a server that the README names, as real processes."""
    install(session, "servers")
    pytest(session, "tests/launch", workers=3)


@nox.session(python=MAIN)
def peers(session: nox.Session) -> None:
    """Other instrumentations of MCP beside ours, each stack in an environment of its own."""
    install(session, "servers")
    pytest(session, "tests/peers", workers=3)


@nox.session(python=MAIN)
def foreign(session: nox.Session) -> None:
    """The official TypeScript client and the conformance suite of the protocol against an audited server."""
    install(session, "test", *CORE_STACK, "opentelemetry-distro")
    pytest(session, "tests/foreign")


@nox.session(python=MAIN)
def lint(session: nox.Session) -> None:
    """Style, format and types."""
    install(session, "lint", *CORE_STACK, "opentelemetry-distro", extras="cli,fast,sql,relay")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")
    session.run("mypy", "noxfile.py", "tests/servers", env={"MYPYPATH": "src:tests/servers"})


@nox.session(python=MAIN)
def package(session: nox.Session) -> None:
    """The wheel and the source archive, and the wheel as a user installs it: without extras, then with `cli`."""
    dist = Path(session.create_tmp()) / "dist"
    session.run("uv", "build", "--quiet", "--clear", "--out-dir", str(dist), ".", external=True)
    (wheel,), (archive,) = list(dist.glob("*.whl")), list(dist.glob("*.tar.gz"))
    if not wheel.name.endswith("-py3-none-any.whl"):
        session.error(f"not a pure wheel: {wheel.name}")
    names = zipfile.ZipFile(wheel).namelist()
    strangers = [
        name
        for name in names
        if not name.startswith(("opentelemetry/instrumentation/mcp_audit/", "opentelemetry_instrumentation_mcp_audit-"))
    ]
    if strangers or "opentelemetry/instrumentation/mcp_audit/py.typed" not in names:
        session.error(f"not in their place: {strangers or 'py.typed'}")
    session.log(f"{wheel.name}: {len(names)} files; {archive.name}")

    session.install(str(wheel))
    session.run("python", "-I", "-c", INSTALLED, log=False)
    command = str(Path(session.bin) / "otel-mcp-audit")
    bare = subprocess.run([command, "--help"], capture_output=True, text=True, timeout=60, check=False)
    if bare.returncode == 0 or f"{PROJECT}[cli]" not in bare.stderr or "Traceback" in bare.stderr:
        session.error(f"without the extra, --help ended with {bare.returncode} and said: {bare.stdout}{bare.stderr}")
    session.log(f"without [cli]: {bare.stderr.strip()}")
    session.install(f"{wheel}[cli]")
    session.run(command, "--help", silent=True)


# Run in the environment of the installed wheel: the entry points, and that a process may load them for nothing.
INSTALLED = """
import sys
from importlib.metadata import entry_points
for group in ("instrumentor", "pre_instrument", "environment_variables"):
    (point,) = [p for p in entry_points(group=f"opentelemetry_{group}") if p.name == "mcp_audit"]
    print(group, point.value, point.load())
heavy = {"mcp", "pydantic", "click"} & set(sys.modules)
assert not heavy, heavy
"""
