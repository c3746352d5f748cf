"""The status line and headers of an HTTP/1.1 answer (RFC 9112), as far as a load generator needs them."""

from __future__ import annotations

from dataclasses import dataclass

LARGEST_HEAD = 65_536


class NotHttp(ValueError):
    """What came is not an HTTP/1.x answer; the message says what was wrong."""


@dataclass(slots=True)
class AnswerHead:
    """`length`: of the body; None: until the connection is closed, unless it is `chunked`."""

    status: int
    chunked: bool
    length: int | None
    keeps: bool
    event_stream: bool
    retry_after_s: float


def parse_head(head: bytes) -> AnswerHead:
    """Of the bytes before the empty line. Raises NotHttp."""
    first, _, rest = head.partition(b"\r\n")
    if not first.startswith(b"HTTP/1.") or len(first) < 12 or not first[9:12].isdigit():
        raise NotHttp(f"the answer begins with {first[:40]!r}, not with HTTP/1.1 and a status")
    status = int(first[9:12])
    answer = AnswerHead(status, False, None, first[7:8] != b"0", False, float("nan"))
    if status in (204, 304) or status < 200:
        answer.length = 0
    for line in rest.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if not colon:
            if line:
                raise NotHttp(f"header line {line[:60]!r} has no colon")
            continue
        _take(answer, name.strip().lower(), value.strip())
    if answer.chunked:
        answer.length = None
    return answer


def _take(answer: AnswerHead, name: bytes, value: bytes) -> None:
    if name == b"content-length":
        if not value.isdigit():
            raise NotHttp(f"Content-Length is {value[:40]!r}, not a number")
        answer.length = int(value)
    elif name == b"transfer-encoding":
        answer.chunked = value.lower().endswith(b"chunked")
    elif name == b"connection":
        answer.keeps = value.lower() != b"close" and (answer.keeps or value.lower() == b"keep-alive")
    elif name == b"content-type":
        answer.event_stream = value.lower().startswith(b"text/event-stream")
    elif name == b"retry-after" and value.isdigit():
        answer.retry_after_s = float(value)
