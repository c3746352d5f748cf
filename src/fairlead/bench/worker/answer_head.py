"""The status line and headers of an HTTP/1.1 answer (RFC 9112), as far as a load generator needs them."""

from __future__ import annotations

from dataclasses import dataclass

LARGEST_HEAD = 65_536
LONGEST_NUMBER = 15


class NotHttp(ValueError):
    """What came is not an HTTP/1.x answer that can be read; the message says what was wrong."""


@dataclass(slots=True)
class AnswerHead:
    """`length`: of the body; None: until the connection is closed, unless it is `chunked`. `encoding`: what the body
    was compressed with, empty for nothing."""

    status: int
    chunked: bool
    length: int | None
    keeps: bool
    event_stream: bool
    retry_after_s: float
    encoding: str = ""


def parse_head(head: bytes) -> AnswerHead:
    """Of the bytes before the empty line. Raises NotHttp."""
    first, _, rest = head.partition(b"\r\n")
    if not first.startswith(b"HTTP/1.") or first[8:9] != b" " or not first[9:12].isdigit():
        raise NotHttp(f"the answer begins with {first[:40]!r}, not with HTTP/1.1 and a status")
    status = int(first[9:12])
    if status < 100 or status == 101:
        raise NotHttp(f"the answer's status is {status}, which answers no request of ours")
    answer = AnswerHead(status, False, None, first[7:8] != b"0", False, float("nan"))
    for line in rest.split(b"\r\n"):
        if line[:1] in (b" ", b"\t"):  # a header that goes on (obs-fold): none that matters here does
            continue
        name, colon, value = line.partition(b":")
        if (not colon and line) or b"\n" in line:
            raise NotHttp(f"header line {line[:60]!r} is not a name, a colon and a value")
        if colon:
            _take(answer, name.strip().lower(), value.strip())
    if status in (204, 304) or status < 200:
        answer.chunked, answer.length = False, 0  # whatever the headers say: RFC 9112, 6.3
    elif answer.chunked:
        answer.length = None
    return answer


def _take(answer: AnswerHead, name: bytes, value: bytes) -> None:
    if name == b"content-length":
        answer.length = _length(value, answer.length)
    elif name == b"transfer-encoding":
        if value.lower() not in (b"chunked", b"identity"):
            raise NotHttp(f"Transfer-Encoding is {value[:40]!r}; chunked is all that can be read")
        answer.chunked = value.lower() == b"chunked"
    elif name == b"connection":
        options = [option.strip() for option in value.lower().split(b",")]
        answer.keeps = b"close" not in options and (answer.keeps or b"keep-alive" in options)
    elif name == b"content-type":
        answer.event_stream = value.lower().startswith(b"text/event-stream")
    elif name == b"content-encoding" and value.lower() != b"identity":
        answer.encoding = value[:40].decode(errors="replace")
    elif name == b"retry-after" and value.isdigit() and len(value) <= LONGEST_NUMBER:
        answer.retry_after_s = float(value)


def _length(value: bytes, before: int | None) -> int:
    if not value.isdigit() or len(value) > LONGEST_NUMBER:
        raise NotHttp(f"Content-Length is {value[:40]!r}, not a number of bytes")
    if before is not None and before != int(value):
        raise NotHttp(f"Content-Length is said twice: {before} and {int(value)}")
    return int(value)
