"""Whole answers as bytes, in the many forms that servers give them, and what must be read of each."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import msgspec
from hypothesis import strategies as st


@dataclass(frozen=True)
class Answer:
    """`closes`: the body ends with the connection."""

    data: bytes
    texts: tuple[str, ...]
    closes: bool


@st.composite
def answers(draw: st.DrawFn) -> Answer:
    """Valid streamed completions: interim answers, headers in any case, CR LF or LF in events, comments, chunks of any
    size with extensions and trailers, HTTP/1.0."""
    texts = tuple(draw(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=5)))
    line = draw(st.sampled_from(["\n", "\r\n"]))
    body = b"".join(_event(text, line, draw(st.booleans())) for text in texts)
    body += f"data: [DONE]{line}{line}".encode()
    framing = draw(st.sampled_from(["chunked", "length", "close"]))
    head = draw(
        st.sampled_from([b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"])
    )
    head += draw(st.sampled_from([b"HTTP/1.1 200 OK", b"HTTP/1.1 200 ", b"HTTP/1.1 200", b"HTTP/1.0 200 OK"]))
    head += draw(st.sampled_from([b"\r\nContent-Type: text/event-stream", b"\r\ncontent-type:TEXT/EVENT-STREAM;a=b"]))
    head += draw(st.sampled_from([b"", b"\r\nConnection: close", b"\r\nX-Long: a,\r\n  b: c"]))
    if framing == "chunked":
        head += b"\r\nTransfer-Encoding: chunked"
        body = _chunks(draw, body)
    elif framing == "length":
        head += b"\r\nContent-Length: %d" % len(body)
    return Answer(head + b"\r\n\r\n" + body, texts, framing == "close")


def _event(text: str, line: str, with_comment: bool) -> bytes:
    value = msgspec.json.encode({"choices": [{"text": text, "finish_reason": None}]}).decode()
    return (f": waiting{line}{line}" * with_comment + f"data: {value}{line}{line}").encode()


def _chunks(draw: st.DrawFn, body: bytes) -> bytes:
    parts = pieces(body, draw(st.lists(st.integers(0, len(body)), max_size=6)))
    extension = draw(st.sampled_from([b"", b";name=value", b" "]))
    trailer = draw(st.sampled_from([b"", b"Digest: x\r\n"]))
    return b"".join(b"%x%b\r\n%b\r\n" % (len(p), extension, p) for p in parts) + b"0\r\n" + trailer + b"\r\n"


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """The data cut at these places; none of the pieces is empty."""
    edges = sorted({0, len(data), *(cut for cut in cuts if 0 < cut < len(data))})
    return [data[a:b] for a, b in itertools.pairwise(edges)]
