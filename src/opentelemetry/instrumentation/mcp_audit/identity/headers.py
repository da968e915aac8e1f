# SPDX-License-Identifier: Apache-2.0
"""What the HTTP request says of itself: headers (declared, never proof) and the address it came from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any, Final, Literal

from .bounded import TEXT_LIMIT

Network = IPv4Network | IPv6Network
SourceType = Literal["ipv4", "ipv6", "hostname"]

_FORWARDED_FOR: Final = "x-forwarded-for"
_HOPS_LIMIT: Final = 64
_HEADERS_LIMIT: Final = 256


@dataclass(frozen=True, slots=True)
class HeaderNames:
    """Lower-case names of the headers that are read; an empty name reads none."""

    request_id: str = "x-request-id"
    tenant: str = "x-tenant-id"
    user: str = ""


@dataclass(frozen=True, slots=True)
class Headers:
    """What was found, None where it was not. ``address`` is the client's as far as trusted proxies tell."""

    user_agent: str | None = None
    request_id: str | None = None
    tenant_id: str | None = None
    user: str | None = None
    address: str | None = None
    port: int | None = None


NOTHING: Final = Headers()


def read(scope: Mapping[str, Any] | None, names: HeaderNames, trusted: Sequence[Network] = ()) -> Headers:
    """The :class:`Headers` of an ASGI HTTP scope; nothing for a request that came another way. Never raises."""
    if scope is None:
        return NOTHING
    wanted = {"user-agent", names.request_id, names.tenant, names.user}
    if trusted:
        wanted.add(_FORWARDED_FOR)
    wanted.discard("")
    found = _wanted(scope.get("headers"), wanted)
    address, port = _peer(scope.get("client"))
    if trusted and _FORWARDED_FOR in found:
        address, port = client_of(address, port, ",".join(found[_FORWARDED_FOR]), trusted)
    return Headers(
        user_agent=_first(found, "user-agent"),
        request_id=_first(found, names.request_id),
        tenant_id=_only(found, names.tenant),
        user=_only(found, names.user),
        address=address,
        port=port,
    )


def client_of(
    peer: str | None, port: int | None, forwarded: str, trusted: Sequence[Network]
) -> tuple[str | None, int | None]:
    """Address and port of the client: the rightmost hop that is no trusted proxy.

    Each proxy appends whom it saw, so that the list is believed from the right, and only as long as the one who
    appended is trusted. A hop that is no address ends the walk at the proxy that reported it.
    """
    address = peer
    for hop in reversed(forwarded[-TEXT_LIMIT * 8 :].split(",")[-_HOPS_LIMIT:]):
        if address is None or not _within(address, trusted):
            break
        host, hop_port = _split_port(hop.strip())
        if _ip(host) is None:
            break
        address, port = host, hop_port
    return address, port


def source_type(address: str | None) -> SourceType | None:
    """What kind of name ``address`` is, in the audit draft's words; None for none."""
    if not address:
        return None
    ip = _ip(address)
    if ip is None:
        return "hostname"
    return "ipv4" if ip.version == 4 else "ipv6"


def _wanted(pairs: object, wanted: set[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    if not isinstance(pairs, Iterable):
        return found
    for count, pair in enumerate(pairs):
        if count >= _HEADERS_LIMIT:
            break
        if not isinstance(pair, (tuple, list)) or len(pair) != 2:
            continue
        name = _decoded(pair[0]).lower()
        if name in wanted:
            found.setdefault(name, []).append(_decoded(pair[1]))
    return found


def _decoded(value: object) -> str:
    # Header bytes are latin-1 by the HTTP rules, which no byte string can fail to be.
    if isinstance(value, bytes):
        return value[: TEXT_LIMIT * 8].decode("latin-1")
    return value if isinstance(value, str) else ""


def _first(found: Mapping[str, list[str]], name: str) -> str | None:
    values = found.get(name)
    return values[0].strip()[:TEXT_LIMIT] or None if values else None


def _only(found: Mapping[str, list[str]], name: str) -> str | None:
    """The value of a header that names somebody: sent twice it is ambiguous (a client's beside the proxy's), and none."""
    values = found.get(name)
    return values[0].strip()[:TEXT_LIMIT] or None if values is not None and len(values) == 1 else None


def _peer(client: object) -> tuple[str | None, int | None]:
    if not isinstance(client, (tuple, list)) or not client or not isinstance(client[0], str) or not client[0]:
        return None, None
    port = client[1] if len(client) > 1 else None
    return client[0][:TEXT_LIMIT], port if type(port) is int and 0 < port < 65536 else None


def _split_port(hop: str) -> tuple[str, int | None]:
    """``1.2.3.4:5`` and ``[::1]:5`` in their parts; an IPv6 address without brackets has no port."""
    if hop.startswith("["):
        host, _, rest = hop[1:].partition("]")
        port = rest[1:] if rest.startswith(":") else ""
    elif hop.count(":") == 1:
        host, _, port = hop.partition(":")
    else:
        return hop, None
    return host, int(port) if port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536 else None


def _ip(address: str) -> IPv4Address | IPv6Address | None:
    if len(address) > 64:
        return None
    try:
        ip = ip_address(address)
    except ValueError:
        return None
    # `::ffff:10.0.0.1` is how a dual-stack socket shows an IPv4 peer.
    return ip.ipv4_mapped or ip if isinstance(ip, IPv6Address) else ip


def _within(address: str, networks: Sequence[Network]) -> bool:
    ip = _ip(address)
    return ip is not None and any(ip in network for network in networks if network.version == ip.version)
