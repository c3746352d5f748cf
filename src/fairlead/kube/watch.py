"""Splitting a byte stream into lines, in time linear in its length however it is chunked."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator


async def split_lines(chunks: AsyncIterable[bytes], *, keep_tail: bool = False) -> AsyncIterator[bytes]:
    """Each line without its newline. The tail after the last newline was cut off, and is dropped unless wanted.

    Empty lines are left out of what a watch sends; with `keep_tail`, where lines are text, they count.
    """
    partial: list[bytes] = []
    async for chunk in chunks:
        if b"\n" not in chunk:
            partial.append(chunk)
            continue
        lines = chunk.split(b"\n")
        if partial:
            partial.append(lines[0])
            lines[0] = b"".join(partial)
            partial.clear()
        tail = lines.pop()
        if tail:
            partial.append(tail)
        for line in lines:
            if line or keep_tail:
                yield line
    if keep_tail and partial:
        yield b"".join(partial)
