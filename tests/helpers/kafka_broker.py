# SPDX-License-Identifier: Apache-2.0
"""A real Kafka broker for a test: one node (KRaft), in a temporary directory, on free ports, started, killed, started again.

The jars come from ``tests/helpers/kafka/fetch.sh``, which fetches them once by Maven and keeps them. Tests fetch under
``CI=true`` only, where a broker that cannot be had fails the run; elsewhere they skip and say what to run.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from collector import Collector, free_port

_FETCH = Path(__file__).parent / "kafka" / "fetch.sh"
_START_SECONDS = 60
# A JVM that is soon up and small: nothing here runs long enough for more.
_JVM = ("-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto")
_PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=CONTROLLER://127.0.0.1:{controller},{listeners}
advertised.listeners={listeners}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL
controller.listener.names=CONTROLLER
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
# A broker that was killed may register again as soon as the one before it is taken for dead.
broker.heartbeat.interval.ms=200
broker.session.timeout.ms=2000
"""


@dataclass(frozen=True)
class Guard:
    """Listeners beside the plain one (by protocol, `SSL` or `SASL_SSL`: the port), what they need, who may come in."""

    ports: Mapping[str, int]
    properties: str
    users: Mapping[str, str]
    """Passwords for SCRAM-SHA-512; they cannot hold a comma or a bracket."""


class KafkaBroker:
    """``bootstrap`` is its address for clients. What it acknowledged is in its files, and there after ``kill``."""

    def __init__(self, home: Path, guard: Guard | None = None) -> None:
        self.home, self._guard = home, guard or Guard({}, "", {})
        self.port, self._controller = free_port(), free_port()
        self.bootstrap = f"127.0.0.1:{self.port}"
        self._properties = home / "server.properties"
        self._log = home / "broker.log"
        self._process: subprocess.Popen[bytes] | None = None

    def prepare(self) -> None:
        """Once, before the first start: its settings and an empty store."""
        self.home.mkdir(parents=True, exist_ok=True)
        ports = {"PLAINTEXT": self.port, **self._guard.ports}
        listeners = ",".join(f"{protocol}://127.0.0.1:{port}" for protocol, port in ports.items())
        settings = {"controller": self._controller, "listeners": listeners, "data": self.home / "data"}
        self._properties.write_text(_PROPERTIES.format(**settings) + self._guard.properties)
        command = ["format", "-t", "AAAAAAAAAAAAAAAAAAAAAQ", "-c", str(self._properties)]
        for name, password in self._guard.users.items():
            command += ["--add-scram", f"SCRAM-SHA-512=[name={name},password={password}]"]
        self._run("kafka.tools.StorageTool", *command)

    def start(self) -> None:
        """Start it and return when it takes connections. A RuntimeError with its log when it does not."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*_java(), "kafka.Kafka", str(self._properties)], cwd=self.home, stdout=log, stderr=log
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self._listens():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"the broker did not come up:\n{self._log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.05)

    def kill(self, how: int = signal.SIGKILL) -> None:
        """SIGKILL, and gone when this returns; with SIGTERM it says goodbye."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            process.wait(60)

    def make_topic(self, name: str, partitions: int = 3, **settings: int) -> None:
        """A topic of so many partitions, one replica each: there is one broker. ``settings``: with ``_`` for ``.``."""
        command = ["--bootstrap-server", self.bootstrap, "--create", "--topic", name, "--partitions", str(partitions)]
        for setting, value in settings.items():
            command += ["--config", f"{setting.replace('_', '.')}={value}"]
        self._run("org.apache.kafka.tools.TopicCommand", *command)

    def set_password(self, name: str, password: str) -> None:
        """Of a user who comes by SCRAM-SHA-512. Who is connected stays so."""
        command = ("--bootstrap-server", self.bootstrap, "--alter", "--entity-type", "users", "--entity-name", name)
        self._run("kafka.admin.ConfigCommand", *command, "--add-config", f"SCRAM-SHA-512=[password={password}]")

    def produce(self, topic: str, message: str) -> None:
        """One message, as whoever may write to the topic can send it."""
        command = ("--bootstrap-server", self.bootstrap, "--topic", topic)
        self._run("org.apache.kafka.tools.ConsoleProducer", *command, said=f"{message}\n")

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
        except OSError:
            return False
        return True

    def _run(self, *command: str, said: str = "") -> None:
        done = subprocess.run(
            [*_java(), *command], cwd=self.home, input=said, capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{command[0]}: {done.stdout[-2000:]}{done.stderr[-2000:]}")


@contextlib.contextmanager
def kafka(home: Path, guard: Guard | None = None) -> Iterator[KafkaBroker]:
    """A running broker without topics."""
    broker = KafkaBroker(home, guard)
    broker.prepare()
    broker.start()
    try:
        yield broker
    finally:
        broker.kill()


def reader(home: Path, broker: KafkaBroker, topic: str = "mcp_audit", *configs: Path | str) -> Collector:
    """A Collector that reads the topic into its archive: ``delivered.arrived`` counts what it has by record id."""
    env = {"AUDIT_KAFKA_BROKERS": broker.bootstrap, "AUDIT_KAFKA_TOPIC": topic, "AUDIT_KAFKA_INSTANCE": home.name}
    return Collector(home, "audit.yaml", "sinks/file.yaml", "sources/kafka.yaml", *configs, env=env)


def _java() -> list[str]:
    java = shutil.which("java")
    if java is None:
        _missing("no java (apt-get install default-jre-headless)")
    return [str(java), *_JVM, "-cp", f"{_jars()}/*"]


@functools.cache
def _jars() -> Path:
    in_ci = os.environ.get("CI") == "true"
    command = [str(_FETCH)] if in_ci else [str(_FETCH), "--find"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        _missing(f"no Kafka: run tests/helpers/kafka/fetch.sh once (needs Maven)\n{done.stderr[-2000:]}")
    return Path(done.stdout.splitlines()[-1])


def _missing(said: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(said, pytrace=False)
    pytest.skip(said)
