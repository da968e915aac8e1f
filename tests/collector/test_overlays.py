# SPDX-License-Identifier: Apache-2.0
"""TLS, client certificates and a bearer token on a real Collector: right and wrong credentials, over HTTP and over gRPC."""

from __future__ import annotations

import os
import shutil
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from certificates import Authority, Pair
from delivered import archived, ids, written
from journals import until

from collector import Collector, join_lines, post

TAKEN = (200, b'{"partialSuccess":{}}')


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    return written(tmp_path_factory.mktemp("journal"), 5)


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ours"), "ours")


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("strangers"), "strangers")


def trusting(root: Path, mine: Pair | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(root))
    if mine is not None:
        context.load_cert_chain(mine.cert, mine.key)
    return context


def tls(collector: Collector) -> str:
    return collector.logs_url.replace("http:", "https:")


def grpc_code(collector: Collector, lines: list[bytes], credentials: object = None, token: str | None = None) -> str:
    """The status of a gRPC export of these lines: OK, UNAVAILABLE, UNAUTHENTICATED, …"""
    grpc = pytest.importorskip("grpc", reason="the extra `otel` brings gRPC")
    service = pytest.importorskip("opentelemetry.proto.collector.logs.v1.logs_service_pb2")
    from google.protobuf import json_format

    request = json_format.Parse(join_lines(lines), service.ExportLogsServiceRequest())
    target = f"127.0.0.1:{collector.grpc}"
    channel = grpc.insecure_channel(target) if credentials is None else grpc.secure_channel(target, credentials)
    with channel:
        export = channel.unary_unary(
            "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            request_serializer=service.ExportLogsServiceRequest.SerializeToString,
            response_deserializer=service.ExportLogsServiceResponse.FromString,
        )
        try:
            export(request, timeout=10, metadata=[("authorization", f"Bearer {token}")] if token else None)
        except grpc.RpcError as error:
            return str(error.code().name)
        return "OK"


@pytest.fixture
def encrypted(tmp_path: Path, ours: Authority) -> Iterator[Collector]:
    server = ours.issue("server")
    env = {"AUDIT_TLS_CERT": str(server.cert), "AUDIT_TLS_KEY": str(server.key)}
    with Collector(tmp_path, "audit.yaml", "sinks/file.yaml", "overlays/tls.yaml", env=env) as collector:
        yield collector


def test_tls(encrypted: Collector, ours: Authority, strangers: Authority, lines: list[bytes]) -> None:
    assert post(tls(encrypted), join_lines(lines), context=trusting(ours.root)) == TAKEN
    with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
        post(tls(encrypted), join_lines(lines), context=trusting(strangers.root))
    # Small, so that the answer is not lost with a connection that is closed before all was read.
    status, body = post(encrypted.logs_url, b"{}")
    assert (status, body) == (400, b"Client sent an HTTP request to an HTTPS server.\n"), "plain text is refused"
    assert set(ids(archived(encrypted)).values()) == {1}


def test_a_renewed_certificate_is_taken_up(
    tmp_path: Path, ours: Authority, strangers: Authority, lines: list[bytes]
) -> None:
    """By the overlay after a minute; here sooner."""
    soon = tmp_path / "soon.yaml"
    soon.write_text("receivers: {otlp: {protocols: {http: {tls: {reload_interval: 50ms}}}}}\n")
    served, renewed = ours.issue("renewed"), strangers.issue("renewed")
    env = {"AUDIT_TLS_CERT": str(served.cert), "AUDIT_TLS_KEY": str(served.key)}

    def taken(by: Authority) -> bool:
        try:
            return post(tls(collector), join_lines(lines), context=trusting(by.root)) == TAKEN
        except OSError:
            return False

    with Collector(tmp_path / "c", "audit.yaml", "sinks/file.yaml", "overlays/tls.yaml", soon, env=env) as collector:
        assert taken(ours)
        shutil.copyfile(renewed.key, served.key)
        shutil.copyfile(renewed.cert, served.cert)
        until(lambda: taken(strangers), 30)
        assert not taken(ours)


def test_tls_over_grpc(encrypted: Collector, ours: Authority, strangers: Authority, lines: list[bytes]) -> None:
    grpc = pytest.importorskip("grpc", reason="the extra `otel` brings gRPC")
    assert grpc_code(encrypted, lines, grpc.ssl_channel_credentials(ours.root.read_bytes())) == "OK"
    assert grpc_code(encrypted, lines, grpc.ssl_channel_credentials(strangers.root.read_bytes())) == "UNAVAILABLE"
    assert grpc_code(encrypted, lines) == "UNAVAILABLE", "plain text is refused"
    assert ids(archived(encrypted)) == ids(lines)


def test_mtls(tmp_path: Path, ours: Authority, strangers: Authority, lines: list[bytes]) -> None:
    server, client, stranger = ours.issue("server"), ours.issue("client"), strangers.issue("client")
    env = {
        "AUDIT_TLS_CERT": str(server.cert),
        "AUDIT_TLS_KEY": str(server.key),
        "AUDIT_TLS_CLIENT_CA": str(ours.root),
    }
    with Collector(tmp_path, "audit.yaml", "sinks/file.yaml", "overlays/mtls.yaml", env=env) as collector:
        assert post(tls(collector), join_lines(lines), context=trusting(ours.root, client)) == TAKEN
        for wrong in (None, stranger):
            with pytest.raises(OSError):
                post(tls(collector), join_lines(lines), context=trusting(ours.root, wrong))
        assert ids(archived(collector)) == ids(lines)


def test_bearer(tmp_path: Path, lines: list[bytes]) -> None:
    token = tmp_path / "token"
    token.write_text("first-secret\n")
    os.chmod(token, 0o600)
    env = {"AUDIT_TOKEN_FILE": str(token)}
    with Collector(tmp_path / "c", "audit.yaml", "sinks/file.yaml", "overlays/bearer.yaml", env=env) as collector:

        def status(value: str | None) -> int:
            headers = {} if value is None else {"Authorization": value}
            return post(collector.logs_url, join_lines(lines), headers=headers)[0]

        assert status("Bearer first-secret") == 200
        assert [status(wrong) for wrong in (None, "Bearer ", "Bearer other", "first-secret", "Basic first-secret")] == [
            401
        ] * 5
        assert ids(archived(collector)) == ids(lines)
        token.write_text("second-secret\n")
        until(lambda: status("Bearer second-secret") == 200, 30)
        assert status("Bearer first-secret") == 401, (
            "a new token is taken up without a restart, and the old one is over"
        )
        assert "-secret" not in collector.log_text()


def test_bearer_over_grpc(tmp_path: Path, lines: list[bytes]) -> None:
    token = tmp_path / "token"
    token.write_text("first-secret\n")
    env = {"AUDIT_TOKEN_FILE": str(token)}
    with Collector(tmp_path / "c", "audit.yaml", "sinks/file.yaml", "overlays/bearer.yaml", env=env) as collector:
        assert grpc_code(collector, lines, token="first-secret") == "OK"
        assert grpc_code(collector, lines, token="other") == "UNAUTHENTICATED"
        assert grpc_code(collector, lines) == "UNAUTHENTICATED"


def test_a_token_file_that_is_not_there_stops_the_start(tmp_path: Path) -> None:
    env = {"AUDIT_TOKEN_FILE": str(tmp_path / "absent")}
    collector = Collector(tmp_path / "c", "audit.yaml", "sinks/file.yaml", "overlays/bearer.yaml", env=env)
    with pytest.raises(AssertionError, match="no such file or directory"):
        collector.start()
