"""The null server as a process, and what it saw: a second opinion on when requests were sent."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import sys
from array import array
from collections.abc import AsyncIterator, Sequence
from statistics import fmean, pstdev

import msgspec

START_WITHIN_S = 20.0


class Usage(msgspec.Struct, frozen=True):
    """CPU time of the null server's process."""

    cpu_s: float


class Witness:
    """A null server that runs."""

    def __init__(self, port: int) -> None:
        self.port = port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def arrivals(self) -> list[float]:
        """Since they were last asked for: CLOCK_MONOTONIC in seconds, in order."""
        found = array("d")
        found.frombytes(await self._get("/arrivals"))
        return sorted(found)

    async def served(self) -> Served:
        """Of the answers that were streamed whole since it was last asked for."""
        found = array("d")
        found.frombytes(await self._get("/served"))
        return served(found)

    async def usage(self) -> Usage:
        return msgspec.json.decode(await self._get("/usage"), type=Usage)

    async def _get(self, path: str) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: null\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            return await reader.readexactly(int(head.rpartition(b"Content-Length:")[2]))
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def null_server(ttft_s: float, itl_s: float, seconds: float, core: int | None = None) -> AsyncIterator[Witness]:
    """A null server for as long as the block goes on, `seconds` at most, on a core of its own where one is given.
    Raises OSError when it does not start."""
    command = [
        sys.executable, "-m", "fairlead.bench.check.null_server", "--ttft-ms", f"{ttft_s * 1e3}", "--itl-ms",
        f"{itl_s * 1e3}", "--seconds", f"{seconds}", "--first",
    ]  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        *command, *(["--core", str(core)] if core is not None else []), stdout=asyncio.subprocess.PIPE,
        stdin=asyncio.subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        try:
            line = await asyncio.wait_for(process.stdout.readline(), START_WITHIN_S)
        except TimeoutError:
            raise OSError(f"the null server did not start within {START_WITHIN_S:g} s") from None
        if not line.strip().isdigit():
            raise OSError(f"the null server did not start: it said {line[:200]!r}")
        yield Witness(int(line))
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


class Served(msgspec.Struct, frozen=True):
    """What a null server did, whatever it was told to do: seconds from the arrival of a request to its first token, and
    the mean gap of its tokens; sorted, one for each answer."""

    ttft_s: tuple[float, ...]
    gap_s: tuple[float, ...]


def served(times_s: Sequence[float], tokens: int = 16) -> Served:
    """Of arrival, first and last token, one answer of so many tokens after the other."""
    each = list(zip(times_s[::3], times_s[1::3], times_s[2::3], strict=True))
    return Served(
        tuple(sorted(first - arrived for arrived, first, _ in each)),
        tuple(sorted((last - first) / max(1, tokens - 1) for _, first, last in each)),
    )


class Evenness(msgspec.Struct, frozen=True):
    """How even arrivals were: deviations from a grid of 1/rate seconds laid through the earliest one, and the
    coefficient of variation of the gaps."""

    deviation_p50_s: float
    deviation_p99_s: float
    gap_cv: float


def evenness(arrivals: Sequence[float], rate_per_s: float) -> Evenness:
    """Of arrivals in order. The grid is through the one that was earliest against it, so that every other is late by
    its deviation; a request that is missing shifts those after it by a whole gap, and is seen."""
    if len(arrivals) < 3:
        raise ValueError(f"{len(arrivals)} requests arrived: of fewer than 3 nothing can be said")
    against = [at - number / rate_per_s for number, at in enumerate(arrivals)]
    first = min(against)
    late = sorted(value - first for value in against)
    gaps = [b - a for a, b in itertools.pairwise(arrivals)]
    return Evenness(late[len(late) // 2], late[int(0.99 * (len(late) - 1))], pstdev(gaps) / fmean(gaps))
