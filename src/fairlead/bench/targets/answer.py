"""An HTTP/1.1 answer read from a stream, piece by piece (RFC 9112): for what is asked before a run, where time does not
matter and a client library's 40 modules would stay for as long as the run goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from fairlead.bench.worker.answer_head import LARGEST_HEAD, AnswerHead, NotHttp, parse_head
from fairlead.bench.worker.connection import chunk_size

PIECE_BYTES = 65_536
LARGEST_SIZE_LINE = 1024


class Answer:
    """`head` first, then `body`. Both raise NotHttp for what is no HTTP, and OSError; `headers` are by their names in
    small letters."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self.headers: dict[str, str] = {}
        self._reader = reader
        self._head: AnswerHead | None = None

    async def head(self) -> AnswerHead:
        """Of the final answer: 100 Continue and the like are passed over."""
        head = await self._one_head()
        while head.status < 200:
            head = await self._one_head()
        self._head = head
        return head

    async def body(self) -> AsyncIterator[bytes]:
        """Pieces as they come. Raises NotHttp where it is cut."""
        head = self._head
        assert head is not None
        if head.chunked:
            async for chunk in self._chunks():
                yield chunk
            return
        left = head.length
        while left is None or left > 0:
            data = await self._reader.read(PIECE_BYTES if left is None else min(left, PIECE_BYTES))
            if not data and left is not None:
                raise NotHttp(f"the answer was cut: {left} bytes of it did not come")
            if not data:
                return
            left = None if left is None else left - len(data)
            yield data

    async def _one_head(self) -> AnswerHead:
        data = b""
        while not data.endswith(b"\r\n\r\n"):
            line = await self._line()
            data += line
            if not line.endswith(b"\n"):
                raise NotHttp(
                    f"the answer has no end of headers; it begins with {data[:40]!r}" if data else "no answer"
                )
            if len(data) > LARGEST_HEAD or not data.startswith(b"HTTP/1."):
                raise NotHttp(f"the answer begins with {data[:40]!r}, not with HTTP/1.1 and a status")
        head = parse_head(data[:-4])
        for header in data.decode("latin-1").split("\r\n")[1:]:
            name, _, value = header.partition(":")
            self.headers[name.strip().lower()] = value.strip()
        return head

    async def _line(self) -> bytes:
        """Without its end where the answer ends before."""
        try:
            return await self._reader.readline()
        except ValueError as error:  # longer than the reader keeps
            raise NotHttp("a line of the answer does not end") from error

    async def _chunks(self) -> AsyncIterator[bytes]:
        reader = self._reader
        while True:
            line = await self._line()
            if not line.endswith(b"\r\n") or len(line) > LARGEST_SIZE_LINE:
                raise NotHttp(f"the size of a chunk does not end: {line[:40]!r}" if line else "the answer was cut")
            size = chunk_size(line[:-2])
            if size == 0:
                return
            left = size
            while left:
                data = await reader.read(min(left, PIECE_BYTES))
                if not data:
                    raise NotHttp("the answer was cut inside a chunk")
                left -= len(data)
                yield data
            if (end := await reader.read(1) + await reader.read(1)) != b"\r\n":
                raise NotHttp(f"a chunk is longer than its size says: {end!r} follows it")
