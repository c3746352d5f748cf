"""Header blocks: requests read (and remembered by their bytes), responses precomputed.

A block of indexed fields and of literals without indexing does not change the dynamic table, and its meaning depends on
nothing but the table. So what it meant is remembered until some other block changes the table: a client that sends the
same request again and again, as Envoy does, costs one dictionary look-up. Responses use static-table entries and
literals without indexing only, so they are the same bytes on every connection. Sources: RFC 7541; RFC 9113 section 8;
gRPC over HTTP/2 (PROTOCOL-HTTP2.md of grpc).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import MappingProxyType

from hpack import Decoder
from hpack.exceptions import HPACKError, OversizedHeaderListError
from hpack.hpack import decode_integer

from fairlead.gateway.transport.call import Metadata
from fairlead.gateway.transport.frames import COMPRESSION_ERROR, ENHANCE_YOUR_CALM, ConnectionFault
from fairlead.gateway.transport.status import OK, UNIMPLEMENTED

_MAX_REMEMBERED_BLOCKS = 256
_MAX_REMEMBERED_BYTES = 1024
_OVERSIZE_FACTOR = 4
"""A list up to this many times the limit is still decoded, so that only its stream ends and not the connection."""

_NAME = re.compile(rb":?[!#$%&'*+\-.^_`|~0-9a-z]+")
_VALUE = re.compile(rb"(?![ \t])[^\0\r\n]*(?<![ \t])")
_TIMEOUT = re.compile(r"([0-9]{1,8})([HMSmun])")
_TIMEOUT_UNIT_S = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_FORBIDDEN = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})
_PSEUDO = frozenset({b":method", b":scheme", b":path", b":authority"})
_MAX_GRPC_MESSAGE_BYTES = 4096

Field = tuple[bytes, bytes]


class RequestHead:
    """What one header block says, read as a request's."""

    __slots__ = (
        "content_length",
        "encoding",
        "http_status",
        "is_too_large",
        "is_trailers",
        "malformed",
        "metadata",
        "path",
        "timeout_s",
    )

    def __init__(self, fields: Sequence[Field], max_list_bytes: int) -> None:
        self.malformed = _why_malformed(fields)
        """Why the block breaks RFC 9113 section 8; empty when it does not."""
        self.is_too_large = sum(len(name) + len(value) + 32 for name, value in fields) > max_list_bytes
        self.is_trailers = not any(name.startswith(b":") for name, _ in fields)
        self.metadata: Metadata = _metadata(fields)
        pseudo = dict(fields)
        self.path = pseudo.get(b":path", b"").decode("latin-1")
        if not self.malformed and not self.is_trailers and not _has_request_line(pseudo):
            self.malformed = ":method, :scheme and :path must be there"
        self.http_status = 0
        """The HTTP status that refuses a request which is not gRPC; 0 when it is."""
        if pseudo.get(b":method") != b"POST":
            self.http_status = 405
        elif not self.metadata.get("content-type", "").startswith("application/grpc"):
            self.http_status = 415
        self.encoding = self.metadata.get("grpc-encoding", "identity")
        self.timeout_s, bad_timeout = _timeout_s(self.metadata.get("grpc-timeout"))
        self.content_length, bad_length = _content_length(self.metadata.get("content-length"))
        self.malformed = self.malformed or bad_timeout or bad_length


class HeaderReader:
    """Decodes the header blocks of one connection, in the order in which they arrive."""

    __slots__ = ("_decoder", "_max_list_bytes", "remembered")

    def __init__(self, max_list_bytes: int) -> None:
        self._max_list_bytes = max_list_bytes
        self._decoder = Decoder(max_header_list_size=max_list_bytes * _OVERSIZE_FACTOR)
        self.remembered: dict[bytes, RequestHead] = {}
        """Bytes of a block -> what they mean with the table as it is now."""

    def read(self, block: bytes) -> RequestHead:
        """The block's meaning. Raises ConnectionFault where the shared table can no longer be trusted."""
        known = self.remembered.get(block)
        if known is not None:
            return known
        try:
            fields = [(name, value) for name, value in self._decoder.decode(block, raw=True)]
        except OversizedHeaderListError as error:
            raise ConnectionFault(ENHANCE_YOUR_CALM, "header list far above the limit") from error
        except (HPACKError, IndexError, ValueError) as error:
            raise ConnectionFault(COMPRESSION_ERROR, f"header block cannot be decoded: {error}") from error
        head = RequestHead(fields, self._max_list_bytes)
        if changes_table(block):
            self.remembered.clear()
        elif len(block) <= _MAX_REMEMBERED_BYTES:
            if len(self.remembered) >= _MAX_REMEMBERED_BLOCKS:
                self.remembered.clear()
            self.remembered[block] = head
        return head


def changes_table(block: bytes) -> bool:
    """Whether a valid block adds to the dynamic table or resizes it (RFC 7541 section 6)."""
    position = 0
    while position < len(block):
        first = block[position]
        if first & 0x80:
            position += decode_integer(block[position:], 7)[1]
            continue
        if first & 0x60:
            return True
        name_index, used = decode_integer(block[position:], 4)
        position += used
        for _ in range(1 if name_index else 2):
            length, used = decode_integer(block[position:], 7)
            position += used + length
    return False


def literal(name: bytes, value: bytes) -> bytes:
    """A field that neither uses nor changes the dynamic table, without Huffman coding."""
    return b"\x00" + _string(name) + _string(value)


def percent_encoded(message: str) -> bytes:
    """`grpc-message`: bytes of UTF-8 outside of space to tilde, and the percent sign, as %XX."""
    raw = message.encode("utf-8", "replace")[:_MAX_GRPC_MESSAGE_BYTES]
    return b"".join(bytes((c,)) if 0x20 <= c <= 0x7E and c != 0x25 else b"%%%02X" % c for c in raw)


def http_error_block(status: int) -> bytes:
    """A whole answer to a request that is not gRPC."""
    return b"\x08" + _string(b"%d" % status) + literal(b"content-length", b"0")


def status_fields(code: int, message: str = "") -> bytes:
    """`grpc-status` and, where there is one, `grpc-message`; UNIMPLEMENTED says which encodings are understood."""
    fields = literal(b"grpc-status", b"%d" % code)
    if message:
        fields += literal(b"grpc-message", percent_encoded(message))
    if code == UNIMPLEMENTED:
        fields += literal(b"grpc-accept-encoding", b"identity")
    return fields


def _string(text: bytes) -> bytes:
    return _integer(len(text), 7) + text


def _integer(value: int, prefix_bits: int) -> bytes:
    limit = (1 << prefix_bits) - 1
    if value < limit:
        return bytes((value,))
    encoded = bytearray((limit,))
    value -= limit
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _why_malformed(fields: Sequence[Field]) -> str:
    regular = False
    seen: set[bytes] = set()
    for name, value in fields:
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            return "a field name or value has characters that are not allowed"
        if name.startswith(b":"):
            if regular or name in seen or name not in _PSEUDO:
                return "a pseudo-header field is unknown, repeated or behind a regular one"
            seen.add(name)
            continue
        regular = True
        if name in _FORBIDDEN or (name == b"te" and value != b"trailers"):
            return f"field {name.decode()} is not allowed in HTTP/2"
    return ""


def _has_request_line(pseudo: dict[bytes, bytes]) -> bool:
    return bool(pseudo.get(b":method") and pseudo.get(b":scheme") and pseudo.get(b":path"))


def _metadata(fields: Sequence[Field]) -> Metadata:
    metadata: dict[str, str] = {}
    for raw_name, raw_value in fields:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if name in metadata:
            value = metadata[name] + ("; " if name == "cookie" else ",") + value
        metadata[name] = value
    return MappingProxyType(metadata)


def _timeout_s(text: str | None) -> tuple[float | None, str]:
    if text is None:
        return None, ""
    match = _TIMEOUT.fullmatch(text)
    if match is None:
        return None, "grpc-timeout is not up to 8 digits and a unit"
    return int(match[1]) * _TIMEOUT_UNIT_S[match[2]], ""


def _content_length(text: str | None) -> tuple[int | None, str]:
    if text is None:
        return None, ""
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        return None, "content-length is not a number"
    return int(text), ""


RESPONSE_BLOCK = b"\x88" + b"\x0f\x10" + _string(b"application/grpc")
""":status 200 (static entry 8) and content-type (name: static entry 31)."""

OK_TRAILERS_BLOCK = status_fields(OK)
