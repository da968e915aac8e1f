# SPDX-License-Identifier: Apache-2.0
"""The body of an OTLP/HTTP request, read in bounds: size as it comes, size unpacked, what it says it is."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

from .received import Encoding

_TYPES: Final[dict[str, Encoding]] = {"application/x-protobuf": "protobuf", "application/json": "json"}
_PACKINGS: Final = ("", "identity", "gzip")
_GZIP: Final = 16 + zlib.MAX_WBITS
# Bytes that are unpacked at a time.
_STEP: Final = 64 * 1024


class Refused(Exception):
    """The request is not taken: the HTTP status and why."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


def encoding_of(content_type: str) -> Encoding:
    """Raises :class:`Refused` (415)."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in _TYPES:
        raise Refused(415, f"Content-Type must be one of {', '.join(_TYPES)}")
    return _TYPES[kind]


async def read(stream: AsyncIterator[bytes], content_encoding: str, length: str | None, limit: int) -> bytearray:
    """The body, unpacked, of at most ``limit`` bytes. Raises :class:`Refused` (400, 413, 415)."""
    packing = content_encoding.strip().lower()
    if packing not in _PACKINGS:
        raise Refused(415, "Content-Encoding must be gzip or identity")
    if length is not None and length.isdigit() and int(length) > limit:
        raise Refused(413, f"the body has {length} bytes, at most {limit} are taken")
    unpacker = zlib.decompressobj(_GZIP) if packing == "gzip" else None
    # Not a list of parts, which would be there twice when they are joined.
    body = bytearray()
    async for part in stream:
        try:
            for piece in [part] if unpacker is None else _unpacked(unpacker, part):
                body += piece
                if len(body) > limit:
                    raise Refused(413, f"the body has more than {limit} bytes{' unpacked' if unpacker else ''}")
        except zlib.error as error:
            raise Refused(400, f"the body is no gzip ({error})") from None
    if unpacker is not None and not unpacker.eof:
        raise Refused(400, "the body is a gzip that was cut off")
    return body


def _unpacked(unpacker: Any, part: bytes) -> Iterator[bytes]:
    """A little at a time: of a bomb, no more than :data:`_STEP` is ever unpacked beyond the limit."""
    while True:
        piece = unpacker.decompress(part, _STEP)
        part = unpacker.unconsumed_tail
        yield piece
        # Shorter than asked for: there is nothing more in what came so far.
        if not part and len(piece) < _STEP:
            return
