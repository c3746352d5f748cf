"""SPDY/3.1 framing without I/O, as far as `kubectl` and kube-apiserver use it for exec, attach and port-forward.

Source: draft-mbelshe-httpbis-spdy-00 and its 3.1 successor. Kubernetes' peers send no WINDOW_UPDATE and expect none, so
there is no flow control here: the transport below carries the back-pressure.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

SYN_STREAM, SYN_REPLY, RST_STREAM, SETTINGS, PING, GOAWAY, HEADERS, WINDOW_UPDATE = 1, 2, 3, 4, 6, 7, 8, 9
FLAG_FIN = 0x01
_VERSION = 3
_HEAD = struct.Struct(">II")
_MAX_FRAME_BYTES = 1 << 24
MAX_DATA_BYTES = 1 << 16

_WORDS = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow "
    "authorization cache-control connection content-base content-encoding content-language content-length "
    "content-location content-md5 content-range content-type date etag expect expires from host if-match "
    "if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma "
    "proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status 200_OK version HTTP/1.1 url public set-cookie "
    "keep-alive origin"
)
_TAIL = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden"
    "404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,"
    "publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)


def _dictionary() -> bytes:
    words = (word.replace("_", " ").encode() for word in _WORDS.split(" "))
    return b"".join(struct.pack(">I", len(word)) + word for word in words) + _TAIL.encode()


DICTIONARY = _dictionary()
"""Preset of the header compression: length-prefixed names, then plain text."""


class ProtocolError(Exception):
    """The peer sent what is not SPDY/3."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A received frame. `kind` is 0 for data, else a control type; `number` is the ping id for PING."""

    kind: int
    stream: int
    flags: int = 0
    headers: dict[str, str] | None = None
    data: bytes = b""

    @property
    def is_last(self) -> bool:
        return bool(self.flags & FLAG_FIN)


class Codec:
    """One side of one connection: header compression keeps state, so frames must be made in sending order."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._deflate = zlib.compressobj(zdict=DICTIONARY)

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Frames completed by `data`. Raises ProtocolError."""
        self._buffer += data
        while len(self._buffer) >= _HEAD.size:
            first, second = _HEAD.unpack_from(self._buffer)
            end = _HEAD.size + (second & 0xFFFFFF)
            if len(self._buffer) < end:
                return
            payload = bytes(self._buffer[_HEAD.size : end])
            del self._buffer[:end]
            yield self._parse(first, second >> 24, payload)

    def syn_stream(self, stream: int, headers: dict[str, str], *, last: bool = False) -> bytes:
        body = struct.pack(">IIBB", stream, 0, 0, 0) + self._compress(headers)
        return _control(SYN_STREAM, FLAG_FIN if last else 0, body)

    def syn_reply(self, stream: int, headers: dict[str, str] | None = None, *, last: bool = False) -> bytes:
        return _control(SYN_REPLY, FLAG_FIN if last else 0, struct.pack(">I", stream) + self._compress(headers or {}))

    @staticmethod
    def data(stream: int, payload: bytes = b"", *, last: bool = False) -> bytes:
        return _HEAD.pack(stream, (FLAG_FIN if last else 0) << 24 | len(payload)) + payload

    @staticmethod
    def rst_stream(stream: int, status: int = 5) -> bytes:
        return _control(RST_STREAM, 0, struct.pack(">II", stream, status))

    @staticmethod
    def ping(number: int) -> bytes:
        return _control(PING, 0, struct.pack(">I", number))

    def _parse(self, first: int, flags: int, payload: bytes) -> Frame:
        if not first & 0x80000000:
            return Frame(0, first, flags, data=payload)
        if first >> 16 & 0x7FFF != _VERSION:
            raise ProtocolError(f"expected SPDY version 3, got {first >> 16 & 0x7FFF}")
        kind = first & 0xFFFF
        if kind == SETTINGS or len(payload) < 4:
            return Frame(kind, 0, flags, data=payload)
        stream = struct.unpack_from(">I", payload)[0]
        skipped = {SYN_STREAM: 10, SYN_REPLY: 4, HEADERS: 4}.get(kind)
        if skipped is None:
            return Frame(kind, stream if kind == PING else stream & 0x7FFFFFFF, flags, data=payload[4:])
        return Frame(kind, stream & 0x7FFFFFFF, flags, headers=self._decompress(payload[skipped:]))

    def _compress(self, headers: dict[str, str]) -> bytes:
        block = struct.pack(">I", len(headers))
        for name, value in headers.items():
            for text in (name.lower().encode(), value.encode()):
                block += struct.pack(">I", len(text)) + text
        return self._deflate.compress(block) + self._deflate.flush(zlib.Z_SYNC_FLUSH)

    def _decompress(self, block: bytes) -> dict[str, str]:
        try:
            plain = self._inflate.decompress(block, _MAX_FRAME_BYTES)
            (count,) = struct.unpack_from(">I", plain)
            position, texts = 4, []
            for _ in range(2 * count):
                (length,) = struct.unpack_from(">I", plain, position)
                texts.append(plain[position + 4 : position + 4 + length].decode())
                position += 4 + length
        except (zlib.error, struct.error, UnicodeDecodeError) as error:
            raise ProtocolError(f"unreadable SPDY header block: {error}") from error
        return dict(zip((name.lower() for name in texts[::2]), texts[1::2], strict=True))


def _control(kind: int, flags: int, body: bytes) -> bytes:
    return _HEAD.pack(0x80000000 | _VERSION << 16 | kind, flags << 24 | len(body)) + body
