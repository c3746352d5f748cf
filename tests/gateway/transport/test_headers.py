"""Remembered header blocks mean what a plain decoder reads; responses are what grpc wants."""

from __future__ import annotations

import re
from urllib.parse import unquote

import pytest
from hpack import Decoder, Encoder, HeaderTuple, NeverIndexedHeaderTuple
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.gateway.transport.frames import ConnectionFault
from fairlead.gateway.transport.headers import (
    OK_TRAILERS_BLOCK,
    RESPONSE_BLOCK,
    HeaderReader,
    changes_table,
    http_error_block,
    percent_encoded,
    status_fields,
)

FIELDS = st.lists(
    st.tuples(
        st.sampled_from([":path", "x-a", "x-b", "content-type", "te", "user-agent"]),
        st.sampled_from(["", "1", "/long/" + "p" * 150, "text", "x" * 900]),
        st.sampled_from(["index", "never", "plain"]),
    ),
    max_size=6,
)
BLOCKS = st.lists(st.tuples(FIELDS, st.sampled_from([None, None, None, 0, 200, 4096]), st.booleans()), max_size=30)


@settings(max_examples=200, deadline=None)
@given(blocks=BLOCKS)
def test_a_remembered_block_means_what_a_plain_decoder_reads(
    blocks: list[tuple[list[tuple[str, str, str]], int | None, bool]],
) -> None:
    encoder, plain, reader = Encoder(), Decoder(), HeaderReader(100_000)
    for fields, table_size, huffman in blocks:
        if table_size is not None:
            encoder.header_table_size = table_size
        tuples = [(NeverIndexedHeaderTuple if how == "never" else HeaderTuple)(n, v) for n, v, how in fields]
        block = encoder.encode(tuples, huffman=huffman)
        expected: dict[str, str] = {}
        for name, value in plain.decode(block):
            expected[name] = f"{expected[name]},{value}" if name in expected else value
        assert dict(reader.read(block).metadata) == expected


def test_the_same_request_is_decoded_once_per_state_of_the_table() -> None:
    encoder, reader = Encoder(), HeaderReader(10_000)
    request = [(":path", "/a.B/C"), ("x-a", "1")]
    first = reader.read(encoder.encode(request))
    second = reader.read(block := encoder.encode(request))
    assert second is not first
    assert reader.read(block) is second
    reader.read(encoder.encode([("x-new", "2")]))
    assert reader.read(encoder.encode(request)) is not second


def test_the_same_bytes_mean_something_else_when_the_table_has_changed() -> None:
    reader = HeaderReader(10_000)
    newest = b"\xbe"
    reader.read(b"\x40\x03x-a\x011")
    assert dict(reader.read(newest).metadata) == {"x-a": "1"}
    reader.read(b"\x40\x03x-b\x012")
    assert dict(reader.read(newest).metadata) == {"x-b": "2"}
    # A table of size 0 has no entries.
    reader.read(b"\x20")
    with pytest.raises(ConnectionFault):
        reader.read(newest)


@settings(max_examples=300, deadline=None)
@given(block=st.binary(max_size=60))
def test_whether_a_block_changes_the_table(block: bytes) -> None:
    decoder = Decoder()
    try:
        decoder.decode(block, raw=True)
    except Exception:
        return
    if not changes_table(block):
        assert not decoder.header_table.dynamic_entries
        assert decoder.header_table.maxsize == 4096


def test_what_is_remembered_is_bounded() -> None:
    reader = HeaderReader(10_000)
    for number in range(5000):
        reader.read(b"\x00\x03x-a\x04%04d" % number)
    reader.read(b"\x00\x03x-a\x7f\xfd\x0f" + b"x" * (0x7F + 0x7D + (0x0F << 7)))
    assert len(reader.remembered) <= 256
    assert max(map(len, reader.remembered)) <= 1024


@given(text=st.text())
def test_messages_survive_percent_encoding(text: str) -> None:
    encoded = percent_encoded(text)
    assert re.fullmatch(rb"[ -~]*", encoded)
    raw = text.encode("utf-8", "replace")
    if len(raw) < 4000:
        assert unquote(encoded.decode("ascii"), errors="strict") == raw.decode()


def test_responses() -> None:
    decoder = Decoder()
    assert list(decoder.decode(RESPONSE_BLOCK)) == [(":status", "200"), ("content-type", "application/grpc")]
    assert list(decoder.decode(OK_TRAILERS_BLOCK)) == [("grpc-status", "0")]
    assert list(decoder.decode(http_error_block(415))) == [(":status", "415"), ("content-length", "0")]
    long = "x" * 9000
    fields = dict(decoder.decode(status_fields(13, long)))
    assert fields["grpc-status"] == "13"
    assert long.startswith(fields["grpc-message"])
    assert len(fields["grpc-message"]) > 1000
    assert not decoder.header_table.dynamic_entries


@pytest.mark.parametrize(
    ("text", "seconds"), [("1S", 1), ("100m", 0.1), ("5u", 5e-6), ("7n", 7e-9), ("2M", 120), ("3H", 10_800)]
)
def test_timeouts(text: str, seconds: float) -> None:
    head = HeaderReader(10_000).read(Encoder().encode([("grpc-timeout", text)]))
    assert head.timeout_s == pytest.approx(seconds)
