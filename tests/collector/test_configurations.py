# SPDX-License-Identifier: Apache-2.0
"""Every configuration is valid to the real Collector, in every way in which they compose; with no sink it does not start."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from collector import CONFIG, Collector, binary, validate

FILE = "sinks/file.yaml"
SETTINGS = {
    "AUDIT_TLS_CERT": "/cert.pem",
    "AUDIT_TLS_KEY": "/key.pem",
    "AUDIT_TLS_CLIENT_CA": "/ca.pem",
    "AUDIT_TOKEN_FILE": "/token",
    "DD_API_KEY": "key",
    "AUDIT_KAFKA_USER": "user",
    "AUDIT_KAFKA_PASSWORD": "password",
}
ORDINARY = """
exporters: {nop: {}}
service: {pipelines: {logs/mine: {receivers: [forward/ordinary], exporters: [nop]}}}
"""


@pytest.mark.parametrize(
    "others",
    [
        [],
        ["overlays/tls.yaml"],
        ["overlays/mtls.yaml"],
        ["overlays/bearer.yaml"],
        ["overlays/tls.yaml", "overlays/bearer.yaml"],
        ["overlays/mtls.yaml", "overlays/bearer.yaml"],
        ["sources/journal.yaml"],
        ["sinks/sql.yaml"],
        ["sinks/splunk.yaml"],
        ["sinks/sql.yaml", "sinks/splunk.yaml"],
        ["sinks/datadog.yaml"],
        ["sinks/kafka.yaml"],
        ["sources/kafka.yaml"],
        ["sinks/kafka.yaml", "overlays/kafka-tls.yaml"],
        ["sources/kafka.yaml", "overlays/kafka-sasl.yaml"],
        ["sinks/kafka.yaml", "overlays/kafka-sasl.yaml", "overlays/mtls.yaml"],
        ["sinks/sql.yaml", "sinks/datadog.yaml", "sinks/kafka.yaml"],
        ["sinks/clickhouse.yaml"],
        ["renderings/seed.yaml"],
        ["renderings/ocsf.yaml"],
        ["renderings/seed.yaml", "renderings/ocsf.yaml", "sinks/sql.yaml"],
        ["overlays/shared.yaml", "ordinary"],
        ["overlays/mtls.yaml", "overlays/bearer.yaml", "overlays/shared.yaml", "ordinary", "sources/journal.yaml"],
    ],
    ids="+".join,
)
def test_valid(others: list[str], tmp_path: Path) -> None:
    ordinary = tmp_path / "ordinary.yaml"
    ordinary.write_text(ORDINARY)
    done = validate("audit.yaml", FILE, *(ordinary if name == "ordinary" else name for name in others), env=SETTINGS)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_nothing_of_the_kind_is_left_out() -> None:
    """A file that no test here names would be a file that nobody ran."""
    here = {str(path.relative_to(CONFIG)) for path in CONFIG.rglob("*.yaml")} - {"distribution/builder.yaml"}
    text = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    assert [name for name in sorted(here) if name not in text] == []


def test_with_no_sink_it_does_not_start(tmp_path: Path) -> None:
    collector = Collector(tmp_path, "audit.yaml")
    done = subprocess.run(
        [str(binary()), "--config", str(CONFIG / "audit.yaml")],
        env={**os.environ, **collector.env},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 1
    assert "no exporter configuration specified in config" in done.stderr


def test_a_shared_collector_with_nowhere_for_ordinary_logs_does_not_start() -> None:
    done = validate("audit.yaml", FILE, "overlays/shared.yaml")
    assert done.returncode == 1
    assert (
        'connector "forward/ordinary" used as exporter in [logs/ordinary] pipeline but not used in any' in done.stderr
    )


def test_everything_listens_on_loopback_only_by_default() -> None:
    text = "".join(path.read_text() for path in CONFIG.rglob("*.yaml"))
    hosts = re.findall(r":-([0-9.]+|\[::\]|localhost):\d+\}", text) + re.findall(r"host: ([^,}\s]+)", text)
    assert set(hosts) == {"127.0.0.1"} and len(hosts) >= 4


def test_every_key_that_is_not_default_has_a_reason() -> None:
    """A setting of a component has a comment on its line or right above it; where it listens, what it
    reads and who guards it is plain."""
    plain = ("endpoint", "cert_file", "key_file", "path", "auth")
    without = []
    for path in [
        *CONFIG.glob("*.yaml"),
        *CONFIG.glob("overlays/*"),
        *CONFIG.glob("renderings/*"),
        *CONFIG.glob("sinks/*"),
        *CONFIG.glob("sources/*"),
    ]:
        lines = path.read_text().split("\nservice:")[0].splitlines()
        assert lines[0].startswith("# "), f"{path.name} does not say what it is for"
        for before, line in zip(lines, lines[1:], strict=False):
            key = re.match(r" +(?:- )?([a-z_]+): +[^&#\s]", line)
            if key and "#" not in line and "#" not in before and key[1] not in plain:
                without.append(f"{path.name}: {line.strip()}")
    assert without == []
