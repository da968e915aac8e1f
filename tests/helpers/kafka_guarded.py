# SPDX-License-Identifier: Apache-2.0
"""A real Kafka broker whose doors are guarded: one by TLS and a client's certificate, one by TLS and a password."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from certificates import Authority, Pair
from kafka_broker import Guard, KafkaBroker, kafka

from collector import free_port

USER, PASSWORD = "audit", "right-password"
_JAAS = "org.apache.kafka.common.security"
_PROPERTIES = """
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
ssl.truststore.type=PEM
ssl.truststore.location={root}
listener.name.ssl.ssl.client.auth=required
listener.name.sasl_ssl.sasl.enabled.mechanisms=SCRAM-SHA-512,PLAIN
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config={jaas}.scram.ScramLoginModule required;
listener.name.sasl_ssl.plain.sasl.jaas.config={jaas}.plain.PlainLoginModule required user_{user}="{password}";
"""


@dataclass(frozen=True)
class Guarded:
    """The broker, its two guarded addresses, and what a client needs for them. ``broker.bootstrap`` is open."""

    broker: KafkaBroker
    tls: str
    sasl: str
    root: Path
    client: Pair


@contextlib.contextmanager
def guarded(home: Path) -> Iterator[Guarded]:
    """Running, without topics. USER comes in with PASSWORD, by SCRAM-SHA-512 and by PLAIN."""
    authority = Authority(home / "certificates")
    own, keystore = authority.issue("broker"), home / "broker.pem"
    keystore.write_text(own.key.read_text() + own.cert.read_text())
    settings = {"keystore": keystore, "root": authority.root, "jaas": _JAAS, "user": USER, "password": PASSWORD}
    ports = {"SSL": free_port(), "SASL_SSL": free_port()}
    with kafka(home / "kafka", Guard(ports, _PROPERTIES.format(**settings), {USER: PASSWORD})) as broker:
        tls, sasl = (f"127.0.0.1:{port}" for port in ports.values())
        yield Guarded(broker, tls, sasl, authority.root, authority.issue("client"))
