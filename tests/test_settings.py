# SPDX-License-Identifier: Apache-2.0
"""Settings: precedence, errors that say what to do, and directories that no service name can escape."""

from __future__ import annotations

import ipaddress
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentelemetry.instrumentation.mcp_audit import environment_variables
from opentelemetry.instrumentation.mcp_audit.settings import (
    Settings,
    SettingsError,
    as_dict,
    default_root,
    load,
    proxy_networks,
    resource_attributes,
    service_directory,
    service_name,
)

HOME = {"HOME": "/home/ada"}
# setting, variable, a right spelling and its value, wrong spellings, what the error says is allowed
TABLE: list[tuple[str, str, str, Any, list[str], str]] = [
    ("enabled", "OTEL_MCP_AUDIT_ENABLED", "OFF", False, ["maybe", "2"], "true, false"),
    ("directory", "OTEL_MCP_AUDIT_DIR", "/a/../b", "/b", ["a\0b"], "a path"),
    ("keyring", "OTEL_MCP_AUDIT_KEYRING", "/k", "/k", ["a\0b"], "a path"),
    (
        "level",
        "OTEL_MCP_AUDIT_LEVEL",
        "Digest",
        "digest",
        ["everything", "request-response"],
        "none, metadata, digest, request, request_response",
    ),
    ("fsync", "OTEL_MCP_AUDIT_FSYNC", "always", "always", ["sometimes"], "interval, always, never"),
    (
        "fsync_interval_ms",
        "OTEL_MCP_AUDIT_FSYNC_INTERVAL_MS",
        "5",
        5,
        ["0", "60001", "1.5", "x"],
        "a number from 1 to 60000",
    ),
    (
        "segment_bytes",
        "OTEL_MCP_AUDIT_SEGMENT_BYTES",
        "65536",
        65536,
        ["65535", "1099511627777", "64MB"],
        "a number of bytes from 65536 to 1099511627776",
    ),
    (
        "segment_seconds",
        "OTEL_MCP_AUDIT_SEGMENT_SECONDS",
        "60",
        60,
        ["0", "31622401", "1h"],
        "seconds from 1 to 31622400",
    ),
    (
        "max_bytes",
        "OTEL_MCP_AUDIT_MAX_BYTES",
        "1048576",
        1048576,
        ["1048575", "4GiB"],
        "a number of bytes from 1048576 to 1125899906842624",
    ),
    ("on_full", "OTEL_MCP_AUDIT_ON_FULL", "stop", "stop", ["drop", "true"], "stop, drop_acknowledged"),
    ("min_age", "OTEL_MCP_AUDIT_MIN_AGE", "0", 0, ["-1", "7d"], "seconds from 0 to 3162240000"),
    ("deadline_ms", "OTEL_MCP_AUDIT_DEADLINE_MS", "10", 10, ["9", "60001"], "a number from 10 to 60000"),
    (
        "body_bytes",
        "OTEL_MCP_AUDIT_BODY_BYTES",
        "1024",
        1024,
        ["1023", "65537", "-1"],
        "a number of bytes from 1024 to 65536",
    ),
    (
        "refusals_per_minute",
        "OTEL_MCP_AUDIT_REFUSALS_PER_MINUTE",
        "0",
        0,
        ["-1", "100001", "few"],
        "a number from 0 to 100000",
    ),
    ("otel_logs", "OTEL_MCP_AUDIT_OTEL_LOGS", "full", "full", ["on", "true"], "metadata, full, off"),
    ("own_span", "OTEL_MCP_AUDIT_OWN_SPAN", "yes", True, ["y"], "true, false"),
    ("client", "OTEL_MCP_AUDIT_CLIENT", "true", True, ["both"], "true, false"),
    (
        "request_id_header",
        "OTEL_MCP_AUDIT_REQUEST_ID_HEADER",
        "X-Id",
        "x-id",
        ["a b", "a:b", "\u00e9"],
        "the name of an HTTP header",
    ),
    ("tenant_header", "OTEL_MCP_AUDIT_TENANT_HEADER", "X-T", "x-t", ["a\tb"], "the name of an HTTP header"),
    ("user_header", "OTEL_MCP_AUDIT_USER_HEADER", "X-U", "x-u", ["a" * 101], "the name of an HTTP header"),
    (
        "trusted_proxies",
        "OTEL_MCP_AUDIT_TRUSTED_PROXIES",
        "10.0.0.0/8, ::1",
        "10.0.0.0/8, ::1",
        ["10.0.0.0/33", "proxy.local", "10.0.0.1,x"],
        "addresses or networks, comma-separated",
    ),
    ("fail_closed", "OTEL_MCP_AUDIT_FAIL_CLOSED", "1", True, ["-1"], "true, false"),
    ("otlp_endpoint", "OTEL_MCP_AUDIT_OTLP_ENDPOINT", "http://c:4318", "http://c:4318", [], "a URL, inherit"),
    ("otlp_protocol", "OTEL_MCP_AUDIT_OTLP_PROTOCOL", "grpc", "grpc", [], "http/json, http/protobuf, grpc"),
    ("shutdown_ms", "OTEL_MCP_AUDIT_SHUTDOWN_MS", "0", 0, ["-1", "60001", "x"], "a number from 0 to 60000"),
]
CONNECTION = tuple(
    f"OTEL_MCP_AUDIT_OTLP_{name}"
    for name in ("HEADERS", "CERTIFICATE", "CLIENT_CERTIFICATE", "CLIENT_KEY", "COMPRESSION", "TIMEOUT")
)
WRONG = [(name, variable, value, allowed) for name, variable, _, _, values, allowed in TABLE for value in values]


def test_the_table_above_has_every_setting_and_every_variable() -> None:
    assert [row[0] for row in TABLE] == list(as_dict(Settings()))
    named = {name: value for name, value in vars(environment_variables).items() if name.startswith("OTEL_")}
    assert named == {variable: variable for variable in (*(row[1] for row in TABLE), *CONNECTION)}


def test_our_own_delivery_turns_the_other_way_off() -> None:
    on = {**HOME, "OTEL_MCP_AUDIT_OTLP_ENDPOINT": "http://localhost:4318"}
    assert load(on).otel_logs == "off"
    assert load({**on, "OTEL_MCP_AUDIT_OTEL_LOGS": "full"}).otel_logs == "full"
    assert load(HOME).otel_logs == "metadata"


def test_the_defaults() -> None:
    assert as_dict(load(HOME)) == {
        "enabled": True,
        "directory": "/home/ada/.local/state/otel-mcp-audit/default",
        "keyring": "/home/ada/.local/state/otel-mcp-audit/keyring.json",
        "level": "request",
        "fsync": "interval",
        "fsync_interval_ms": 200,
        "segment_bytes": 67_108_864,
        "segment_seconds": 86400,
        "max_bytes": 4 * 1024**3,
        "on_full": "drop_acknowledged",
        "min_age": 7 * 86400,
        "deadline_ms": 1000,
        "body_bytes": 65_536,
        "refusals_per_minute": 10,
        "otel_logs": "metadata",
        "own_span": False,
        "client": False,
        "request_id_header": "x-request-id",
        "tenant_header": "x-tenant-id",
        "user_header": "",
        "trusted_proxies": "",
        "fail_closed": False,
        "otlp_endpoint": "",
        "otlp_protocol": "",
        "shutdown_ms": 1500,
    }


@pytest.mark.parametrize(
    ("name", "variable", "spelled", "value"), [row[:4] for row in TABLE], ids=[row[0] for row in TABLE]
)
def test_a_right_value(name: str, variable: str, spelled: str, value: Any) -> None:
    from_environment = as_dict(load({**HOME, variable: f"  {spelled} "}))[name]
    from_code = as_dict(load(HOME, {name: spelled}))[name]
    already_typed = as_dict(load(HOME, {name: value}))[name]
    assert from_environment == from_code == already_typed == value
    assert type(from_environment) is type(value)


@pytest.mark.parametrize(("name", "variable", "value", "allowed"), WRONG)
def test_a_wrong_value_names_variable_value_and_what_is_allowed(
    name: str, variable: str, value: str, allowed: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        load({**HOME, variable: value})
    assert str(caught.value) == f"{variable}: {value[:200]!r} cannot be used; allowed: {allowed}"
    with pytest.raises(SettingsError) as caught:
        load(HOME, {name: value})
    assert str(caught.value) == f"instrument({name}=\u2026): {value[:200]!r} cannot be used; allowed: {allowed}"


@pytest.mark.parametrize(("name", "variable", "value", "allowed"), WRONG)
def test_with_on_error_the_default_holds_in_that_place(name: str, variable: str, value: str, allowed: str) -> None:
    errors: list[SettingsError] = []
    assert load({**HOME, variable: value}, None, errors.append) == load(HOME)
    assert len(errors) == 1 and str(errors[0]).startswith(f"{variable}: ")


def test_with_on_error_every_wrong_value_is_told_and_right_ones_hold() -> None:
    errors: list[SettingsError] = []
    environ = {**HOME, "OTEL_MCP_AUDIT_LEVEL": "x", "OTEL_MCP_AUDIT_FSYNC": "x", "OTEL_MCP_AUDIT_OTEL_LOGS": "off"}
    loaded = load(environ, {"nonsense": 1}, errors.append)
    assert (loaded.level, loaded.fsync, loaded.otel_logs) == ("request", "interval", "off")
    assert [str(error).split(":")[0] for error in errors] == [
        "OTEL_MCP_AUDIT_LEVEL",
        "OTEL_MCP_AUDIT_FSYNC",
        "instrument() has no setting nonsense; it has",
    ]


def test_an_unknown_keyword_is_an_error_that_lists_the_known() -> None:
    with pytest.raises(
        SettingsError, match="instrument\\(\\) has no setting levle; it has: enabled, directory, .*fail_closed"
    ):
        load(HOME, {"levle": "digest"})


def test_precedence() -> None:
    environ = {**HOME, "OTEL_MCP_AUDIT_LEVEL": "digest"}
    assert load(environ, {"level": "metadata"}).level == "metadata"
    assert load(environ, {"level": None}).level == "digest", "None is not given"
    assert load(environ).level == "digest"
    assert load({**HOME, "OTEL_MCP_AUDIT_LEVEL": "  "}).level == "request"
    assert load({**HOME, "OTEL_MCP_AUDIT_USER_HEADER": "x-user"}, {"user_header": ""}).user_header == ""


def test_a_wrong_value_that_is_overridden_does_no_harm() -> None:
    assert load({**HOME, "OTEL_MCP_AUDIT_LEVEL": "wrong"}, {"level": "digest"}).level == "digest"


def test_long_wrong_values_are_cut_in_the_message() -> None:
    with pytest.raises(SettingsError) as caught:
        load({**HOME, "OTEL_MCP_AUDIT_LEVEL": "x" * 100_000})
    assert len(str(caught.value)) < 400


def test_where_things_are() -> None:
    assert default_root({"XDG_STATE_HOME": "/state", **HOME}) == Path("/state/otel-mcp-audit")
    assert default_root({"XDG_STATE_HOME": "relative", **HOME}) == Path("/home/ada/.local/state/otel-mcp-audit")
    assert default_root({"HOME": "home"}) == Path(os.path.abspath("home")) / ".local/state/otel-mcp-audit"
    assert default_root({}).is_absolute()
    with_directory = load({**HOME, "OTEL_MCP_AUDIT_DIR": "/var/audit"})
    assert (with_directory.directory, with_directory.keyring) == ("/var/audit", "/var/audit/keyring.json")
    with_both = load({**HOME, "OTEL_MCP_AUDIT_DIR": "/var/audit", "OTEL_MCP_AUDIT_KEYRING": "/etc/key"})
    assert with_both.keyring == "/etc/key"
    services = {load({**HOME, "OTEL_SERVICE_NAME": name}).keyring for name in ("one", "two")}
    assert services == {"/home/ada/.local/state/otel-mcp-audit/keyring.json"}, "one key for all services"


def test_relative_paths_are_made_absolute_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load(HOME, {"directory": "audit"}).directory == str(tmp_path / "audit")
    assert load(HOME, {"directory": "~/audit"}).directory == os.path.expanduser("~/audit")


@pytest.mark.parametrize(
    ("environ", "name"),
    [
        ({}, ""),
        ({"OTEL_SERVICE_NAME": " svc "}, "svc"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=a%20b,x=y"}, "a b"),
        ({"OTEL_SERVICE_NAME": "one", "OTEL_RESOURCE_ATTRIBUTES": "service.name=two"}, "one"),
    ],
)
def test_the_services_name(environ: dict[str, str], name: str) -> None:
    assert service_name(environ) == name


def test_resource_attributes() -> None:
    text = " a = 1 ,b=%C3%A9%2C, =x,novalue,c=,d=e=f,a=2"
    assert resource_attributes({"OTEL_RESOURCE_ATTRIBUTES": text}) == {"a": "2", "b": "\u00e9,", "c": "", "d": "e=f"}
    assert resource_attributes({}) == {}


@pytest.mark.parametrize(
    ("name", "directory"),
    [
        ("svc", "svc"),
        ("", "default"),
        (".", "default"),
        ("..", "default"),
        ("../../etc", "_.._etc"),
        ("/etc/passwd", "_etc_passwd"),
        ("a/../../b", "a_.._.._b"),
        ("..\\..\\windows", "_.._windows"),
        (".hidden", "hidden"),
        ("a\0b\nc", "a_b_c"),
        ("\u2025/\uff0e\uff0e", "_"),
        ("x" * 5000, "x" * 100),
        ("\udcff", "_"),
    ],
)
def test_hostile_service_names(name: str, directory: str) -> None:
    assert service_directory({"OTEL_SERVICE_NAME": name}) == directory


@given(st.text(st.characters(exclude_characters="\0"), max_size=200))
def test_no_service_name_escapes_the_root(name: str) -> None:
    environ = {**HOME, "OTEL_SERVICE_NAME": name}
    root = default_root(environ)
    directory = Path(load(environ).directory)
    assert Path(os.path.normpath(directory)).parent == root
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,100}", directory.name) and directory.name not in (".", "..")


def test_proxies() -> None:
    assert proxy_networks("10.0.0.1/8, ::1 ,") == [ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("::1/128")]
    assert proxy_networks("") == []
