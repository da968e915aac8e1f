# SPDX-License-Identifier: Apache-2.0
"""The fault table as data: what happens in each row, and what must be true of ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from receiver import Mode

Side = Literal["stock", "ours"]
SIDES: tuple[Side, Side] = ("stock", "ours")
# What must hold of ours at the end: every record arrived; or arrived or named by a gap record or in quarantine; or
# nothing is promised (a limit of the way it was started), the reason stands in `note`; or the server did not start.
Promise = Literal["all", "accounted", "nothing", "no start"]
Launcher = Literal["", "opentelemetry-instrument", "otel-mcp-audit run"]


@dataclass(frozen=True)
class Row:
    """One fault. ``script``, ``ending``: of ``emitting.py``. ``mode``: of the endpoint from the start; it becomes healthy
    ``heal_after`` seconds after the first record, or when the emitter has ended. ``scene``: which function of
    ``scenes.py`` plays it. ``quick``: is in the share that the ordinary tests run, with ``quick_count`` records."""

    name: str
    count: int = 100
    rate: float = 0.0
    script: str = "plain"
    ending: str = "normal"
    size: int = 0
    mode: Mode = Mode()
    heal_after: float | None = None
    scene: str = "emitter"
    launcher: Launcher = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    interpreter: tuple[str, ...] = ()
    promise: Promise = "all"
    quick: bool = False
    quick_count: int = 0
    note: str = ""


ENDINGS = [
    Row("burst of 10,000, healthy endpoint, normal exit", count=10_000, quick=True, quick_count=200),
    Row(
        "the same burst with OTEL_BLRP_MAX_QUEUE_SIZE=20000",
        count=10_000,
        environment={"OTEL_BLRP_MAX_QUEUE_SIZE": "20000"},
    ),
    Row("1,000 at 500 a second", count=1000, rate=500),
    Row("SIGKILL after 100", ending="sigkill", quick=True),
    Row("SIGTERM (no handler in the program) after 100", ending="sigterm"),
    Row("SIGTERM 3 s after the last of 100", script="idle", ending="sigterm"),
    Row("os._exit after 100", ending="exit"),
    Row("segmentation fault after 100", ending="segfault"),
    Row("uncaught exception after 100", ending="uncaught"),
    Row("100 after the LoggerProvider was shut down", script="after_shutdown"),
]
ANSWERS = [
    Row("down for 10 s, 30 a second for 16 s", count=480, rate=30, mode=Mode("down"), heal_after=10),
    Row(
        "down for 20 s, 30 a second for 26 s",
        count=780,
        rate=30,
        mode=Mode("down"),
        heal_after=20,
        note="shortened from 30 s and 60 s",
    ),
    Row("200 with a partial success that rejects half", mode=Mode("reject_half")),
    Row("302", mode=Mode("status", 302)),
    Row("400 to everything, healthy later", mode=Mode("status", 400)),
    Row("401 to everything, healthy later", mode=Mode("status", 401), quick=True),
    Row("404 to everything, healthy later", mode=Mode("status", 404)),
    Row("413 to everything, healthy later", mode=Mode("status", 413)),
    Row("500 to everything, healthy later", mode=Mode("status", 500)),
    Row("503 to everything, healthy later", mode=Mode("status", 503)),
    Row("429 to everything, healthy later", mode=Mode("status", 429)),
    Row("401 for 3 s while it runs (a token is rotated)", count=300, rate=40, mode=Mode("status", 401), heal_after=3),
    Row("400 for 3 s while it runs", count=300, rate=40, mode=Mode("status", 400), heal_after=3),
    Row("exit with the endpoint down, healthy later", mode=Mode("down")),
    Row("exit with the endpoint down, 2,048 queued", count=2048, mode=Mode("down")),
    Row(
        "down, 3 records through SimpleLogRecordProcessor, healthy later",
        count=3,
        mode=Mode("down"),
        environment={"FAULTS_SIMPLE": "1"},
        note="with this processor the stock pipeline makes the emitting thread wait",
    ),
    Row("a proxy answers 200 with HTML, healthy later", mode=Mode("html"), quick=True),
    Row("1 s an answer", count=600, rate=100, mode=Mode(slow=1.0)),
    Row("half open: requests are read and never answered, healthy later", mode=Mode("half_open")),
    Row("takes a request, and hangs up without an answer, for 3 s", rate=30, mode=Mode("drop_answer"), heal_after=2),
    Row("acknowledges a request and dies for 3 s", count=300, rate=40, mode=Mode("die", 3), heal_after=1),
]
CONTENT = [
    Row("one record that cannot be encoded (a lone surrogate) among 100", script="poison", quick=True),
    Row(
        "one record that the endpoint rejects among 100",
        script="rejected",
        mode=Mode("reject_poison"),
        promise="accounted",
    ),
    Row("a line in the journal that is no record", scene="poison_line", mode=Mode("down")),
    Row("512 records of 140 kB", count=512, size=140_000),
]
PROCESSES = [
    Row("fork: 50 in the parent, 50 in a child that leaves by os._exit", script="fork_exit"),
    Row("fork: the child leaves by sys.exit", script="fork_sysexit"),
    Row("fork after the exporter was used", script="fork_used"),
    Row("multiprocessing (fork): 50 in the parent, 50 in each of two children", count=150, script="multiprocessing"),
    Row("two processes, one directory", count=200, scene="two_processes"),
    Row("the clock is set back by an hour after half", script="clock_back"),
    Row(
        "the journal's disk is full for the middle third, and free again",
        count=300,
        script="disk_full",
        size=2000,
        scene="small_disk",
        promise="accounted",
    ),
    Row("10,000 segments left by dead processes", count=10_000, scene="dead_segments"),
    Row("the shipper is killed with -9 again and again, under load", count=3000, rate=100, scene="ship_kills"),
]
SERVERS = [
    Row("uvicorn, 100 requests, SIGTERM", scene="uvicorn"),
    Row("uvicorn, 100 requests, SIGINT", scene="uvicorn_sigint"),
    Row("uvicorn --workers 2, 100 requests, SIGTERM", scene="uvicorn_workers"),
    Row("gunicorn -w 2 with uvicorn's worker, 100 requests, SIGTERM", scene="gunicorn"),
    Row("MCP over stdio, 20 calls, the client closes", count=20, scene="stdio"),
    Row("the same, endpoint down, healthy later", count=20, scene="stdio", mode=Mode("down")),
]
COLLECTOR = [
    Row("Collector killed with -9 every 2 s", count=600, rate=50, scene="collector_kills"),
    Row("Collector's archive on a disk that is full for a while", count=600, rate=100, size=3000, scene="archive_full"),
    Row(
        "Collector's queue on a disk that is full for a while",
        count=600,
        rate=100,
        size=3000,
        scene="queue_full",
        note="counted in the archive, which stands on another disk. A Collector whose queue's disk is full may let go of a "
        "queued item that it had acknowledged (`persistent_queue.go`: Failed to dispatch item), so that fewer come out of "
        "the queue; the archive has them",
    ),
    Row("Collector is killed with -9 as soon as it acknowledged", scene="collector_dies"),
]
_AUTO: Launcher = "opentelemetry-instrument"
LAUNCHERS = [
    Row("opentelemetry-instrument, SIGTERM", ending="sigterm", launcher=_AUTO),
    Row("opentelemetry-instrument, SIGKILL", ending="sigkill", launcher=_AUTO),
    Row(
        "opentelemetry-instrument with OTEL_LOGS_EXPORTER=none",
        launcher=_AUTO,
        environment={"OTEL_LOGS_EXPORTER": "none"},
    ),
    Row(
        "opentelemetry-instrument with OTEL_SDK_DISABLED=true",
        launcher=_AUTO,
        environment={"OTEL_SDK_DISABLED": "true"},
    ),
    Row(
        "opentelemetry-instrument, a typo in the name of an unrelated exporter",
        launcher=_AUTO,
        environment={"OTEL_TRACES_EXPORTER": "otpl"},
        promise="nothing",
        note="OpenTelemetry's configurator fails, and nothing that is a plugin is loaded: the server runs without an audit. "
        "`otel-mcp-audit run` is for that",
    ),
    Row(
        "otel-mcp-audit run, a typo in the name of an unrelated exporter",
        launcher="otel-mcp-audit run",
        environment={"OTEL_TRACES_EXPORTER": "otpl"},
    ),
    Row(
        "opentelemetry-instrument with OTEL_EXPORTER_OTLP_PROTOCOL=http/json",
        launcher=_AUTO,
        environment={"OTEL_EXPORTER_OTLP_PROTOCOL": "http/json", "OTEL_LOGS_EXPORTER": "otlp"},
        promise="nothing",
        note="the stock exporters do not know that protocol, and OpenTelemetry's configurator fails as above; this package "
        "has a variable of its own for it",
    ),
    Row(
        "opentelemetry-instrument with OTEL_PYTHON_DISABLED_INSTRUMENTATIONS=*",
        launcher=_AUTO,
        environment={"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "*"},
        promise="nothing",
        note="the operator turned every instrumentation off, this one too, and is told so",
    ),
    Row(
        "opentelemetry-instrument python -E",
        launcher=_AUTO,
        interpreter=("-E",),
        promise="nothing",
        note="the interpreter is told to ignore PYTHONPATH, by which opentelemetry-instrument works, and nothing says so",
    ),
    Row(
        "otel-mcp-audit run python -E",
        launcher="otel-mcp-audit run",
        interpreter=("-E",),
        promise="no start",
        note="it does not start what it could not audit",
    ),
]
SECTIONS: dict[str, list[Row]] = {
    "How the process ends": ENDINGS,
    "What the endpoint does": ANSWERS,
    "What is in the records": CONTENT,
    "Processes, clock and disk": PROCESSES,
    "Servers": SERVERS,
    "A real Collector (archive: `sinks/file.yaml`)": COLLECTOR,
    "Started by opentelemetry-instrument": LAUNCHERS,
}
# What is known to lose records and is no row, and why.
NOT_PLAYED = [
    "The same faults over gRPC: both sides are compared over HTTP. `tests/delivery/test_grpc.py` has this package's gRPC.",
    "512 records of 12 kB to a gRPC endpoint that takes 4 MiB: a limit of gRPC's; 413 and 512 records of 140 kB stand in.",
    "A power cut: no test here cuts the power. What is fsynced is what is delivered; `OTEL_MCP_AUDIT_FSYNC` says when that is.",
]
