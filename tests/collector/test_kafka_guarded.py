# SPDX-License-Identifier: Apache-2.0
"""Kafka over TLS, with a password or a client's certificate, by a real broker; and what a wrong one costs: nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from delivered import arrived, ids, send, written
from journals import until
from kafka_broker import reader
from kafka_guarded import PASSWORD, USER, Guarded, guarded

from collector import Collector

pytestmark = [pytest.mark.timeout(90), pytest.mark.xdist_group("kafka-guarded")]

SENDER = ("audit.yaml", "sinks/file.yaml", "sinks/kafka.yaml")
SASL, TLS = "overlays/kafka-sasl.yaml", "overlays/kafka-tls.yaml"

# No wait is longer than a test should be.
IMPATIENT = (
    "exporters: {kafka/audit: {timeout: 1s, retry_on_failure: {initial_interval: 200ms, max_interval: 500ms}}}\n"
)


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    with guarded(tmp_path_factory.mktemp("guarded")) as running:
        yield running


def by_password(door: Guarded, password: str, **env: str) -> dict[str, str]:
    known = {"AUDIT_KAFKA_BROKERS": door.sasl, "AUDIT_KAFKA_TLS_CA": str(door.root)}
    return {**known, "AUDIT_KAFKA_USER": USER, "AUDIT_KAFKA_PASSWORD": password, **env}


def by_certificate(door: Guarded) -> dict[str, str]:
    certificate = {"AUDIT_KAFKA_TLS_CERT": str(door.client.cert), "AUDIT_KAFKA_TLS_KEY": str(door.client.key)}
    return {"AUDIT_KAFKA_BROKERS": door.tls, "AUDIT_KAFKA_TLS_CA": str(door.root), **certificate}


def sender(home: Path, overlay: str, topic: str, env: dict[str, str]) -> Collector:
    home.mkdir()
    impatient = home / "impatient.yaml"
    impatient.write_text(IMPATIENT)
    return Collector(home, *SENDER, overlay, impatient, env={**env, "AUDIT_KAFKA_TOPIC": topic})


def given_up(collector: Collector) -> float:
    return collector.scrape().get("otelcol_exporter_send_failed_log_records", 0)


def test_a_password_that_is_wrong_for_a_while_costs_no_record(door: Guarded, tmp_path: Path) -> None:
    """On both sides, without a restart: the broker learns of the new password after the Collectors."""
    door.broker.make_topic("passwords", 1)
    before, after = written(tmp_path / "before", 30), written(tmp_path / "after", 30)
    with sender(tmp_path / "old", SASL, "passwords", by_password(door, PASSWORD)) as old:
        send(old, before)
        # In the archive and in Kafka: the exporter's own count of records has those of attempts that failed, too.
        until(lambda: old.scrape().get("otelcol_exporter_sent_log_records", 0) == 2 * len(before), 20)
    new = by_password(door, "new-password")
    receiver = reader(tmp_path / "receiver", door.broker, "passwords", SASL)
    receiver.env |= new
    with sender(tmp_path / "new", SASL, "passwords", new) as source, receiver:
        send(source, after)
        until(lambda: "Exporting failed. Will retry" in source.log_text(), 20)
        for one in (source, receiver):
            assert "SASL_AUTHENTICATION_FAILED" in one.log_text()
        assert (len(arrived(receiver)), given_up(source)) == (0, 0)
        door.broker.set_password(USER, "new-password")
        until(lambda: set(arrived(receiver)) == set(ids([*before, *after])), 30)
        assert given_up(source) == 0
        assert [one for one in (source, receiver) if "new-password" in one.log_text()] == []


def test_a_certificate_or_a_password_and_nobody_without(door: Guarded, tmp_path: Path) -> None:
    """One sends with a password out of a file, which the broker is shown, one with a certificate that it forgot at first."""
    door.broker.make_topic("certificates", 1)
    first, second = written(tmp_path / "first", 20), written(tmp_path / "second", 20)
    receiver = reader(tmp_path / "receiver", door.broker, "certificates", TLS)
    receiver.env |= by_certificate(door)
    secret = tmp_path / "secret"
    secret.write_text(PASSWORD)
    plain = by_password(door, f"${{file:{secret}}}", AUDIT_KAFKA_MECHANISM="PLAIN")
    forgetful = sender(tmp_path / "forgetful", TLS, "certificates", by_certificate(door))
    kept = {name: forgetful.env.pop(name) for name in ("AUDIT_KAFKA_TLS_CERT", "AUDIT_KAFKA_TLS_KEY")}
    with sender(tmp_path / "plain", SASL, "certificates", plain) as source, forgetful, receiver:
        send(source, first)
        send(forgetful, second)
        until(lambda: set(arrived(receiver)) == set(ids(first)), 20)
        until(lambda: "remote error: tls: bad certificate" in forgetful.log_text(), 20)
        forgetful.kill()  # a stop would wait for what is under way
        forgetful.env |= kept
        forgetful.start()
        until(lambda: set(arrived(receiver)) == set(ids([*first, *second])), 30)


def test_a_broker_that_another_authority_vouches_for_gets_nothing(door: Guarded, tmp_path: Path) -> None:
    """The system's authorities, who do not know it."""
    env = by_password(door, PASSWORD)
    del env["AUDIT_KAFKA_TLS_CA"]
    lines = written(tmp_path / "journal", 3)
    with sender(tmp_path / "sender", SASL, "passwords", env) as source:
        send(source, lines)
        until(lambda: "certificate signed by unknown authority" in source.log_text(), 20)
        assert given_up(source) == 0
        source.kill()  # a stop would wait for what is under way
