"""Ranged reads over bad connections: every byte once and in order, or an error in bounded time that says what
happened."""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator, Mapping

import pytest

from fairlead.serving.store.sources.errors import Changed, Unreachable
from fairlead.serving.store.sources.http import Answered, HttpReader, Patience, Request
from serving.store.file_server import FileServer, Manners, serving

CONTENT = os.urandom(1_000_003)
QUICK = Patience(first_wait_s=0.01, longest_wait_s=0.05, silence_s=0.3, attempts=3)


@pytest.fixture
async def server() -> AsyncIterator[FileServer]:
    async with serving(FileServer({"/f": CONTENT})) as found:
        yield found


async def read(
    server: FileServer, start: int = 0, end: int | None = None, path: str = "/f", **options: object
) -> bytes:
    def make(headers: Mapping[str, str]) -> Request:
        return Request(f"{server.url}{path}", headers=headers, host_headers={"Authorization": "Bearer secret"})

    async with HttpReader(QUICK) as http:
        return b"".join([part async for part in http.read(make, start, end, **options)])  # type: ignore[arg-type]


async def test_a_whole_file_and_ranges(server: FileServer) -> None:
    assert await read(server, size=len(CONTENT)) == CONTENT
    assert await read(server) == CONTENT
    assert await read(server, 10, 20, size=len(CONTENT)) == CONTENT[10:20]
    assert await read(server, len(CONTENT) - 1, None, size=len(CONTENT)) == CONTENT[-1:]
    assert await read(server, 5, 5, size=len(CONTENT)) == b""


@pytest.mark.parametrize("ranges", [True, False])
async def test_cut_connections_go_on_where_they_were(server: FileServer, ranges: bool) -> None:
    server.manners = Manners(cut_after=300_000, cuts=2, ranges=ranges)
    assert await read(server, size=len(CONTENT)) == CONTENT


async def test_cuts_without_end_are_given_up(server: FileServer) -> None:
    server.manners = Manners(cut_after=0)
    with pytest.raises(Unreachable, match="3 attempts"):
        await read(server, size=len(CONTENT))
    assert server.asked["/f"] == 3


async def test_cuts_with_a_few_bytes_each_are_no_progress(server: FileServer) -> None:
    server.manners = Manners(cut_after=100)
    with pytest.raises(Unreachable):
        await read(server, size=len(CONTENT))
    assert server.asked["/f"] == 3


async def test_silence_is_a_cut(server: FileServer) -> None:
    server.manners = Manners(silent_after=65536)
    assert await read(server, 0, 100_000, size=len(CONTENT)) == CONTENT[:100_000]
    server.manners = Manners(silent_after=0)
    with pytest.raises(Unreachable, match="3 attempts"):
        await read(server, 0, 200_000, size=len(CONTENT))


async def test_a_trickle_is_a_cut(server: FileServer) -> None:
    server.manners = Manners(chunk_s=0.1)
    patience = Patience(first_wait_s=0.01, attempts=2, slow_s=0.15, least_bytes_per_s=1e9)
    async with HttpReader(patience) as http:
        parts = http.read(lambda h: Request(f"{server.url}/f", headers=h), 0, 300_000, size=len(CONTENT))
        assert b"".join([part async for part in parts]) == CONTENT[:300_000]
    assert server.asked["/f"] > 1, "another connection may be better"


async def test_a_busy_server_is_waited_for(server: FileServer) -> None:
    server.manners = Manners(busy=2, retry_after="0")
    assert await read(server, 0, 9, size=len(CONTENT)) == CONTENT[:9]
    server.manners = Manners(busy=1, retry_after="86400")
    with pytest.raises(Unreachable, match="left alone for 86400 s"):
        await read(server, 0, 9, size=len(CONTENT))


async def test_another_size_or_range_is_not_taken(server: FileServer) -> None:
    with pytest.raises(Changed, match="in place of 5"):
        await read(server, size=5)
    server.manners = Manners(wrong_range=True)
    with pytest.raises(Changed, match="asked for bytes from 10"):
        await read(server, 10, 20, size=len(CONTENT))


async def test_a_file_that_changes_under_the_reader_is_noticed(server: FileServer) -> None:
    tag = f'"{hashlib.md5(CONTENT).hexdigest()}"'
    assert await read(server, 3, 9, size=len(CONTENT), tag=tag) == CONTENT[3:9]
    server.files["/f"] = CONTENT[::-1]
    with pytest.raises(Answered) as caught:
        await read(server, 3, 9, size=len(CONTENT), tag=tag)
    assert caught.value.status == 412


async def test_secrets_stay_with_their_host(server: FileServer) -> None:
    async with serving(FileServer({"/g": b"there"})) as other:
        server.redirects["/f"] = f"{other.url}/g"
        assert await read(server, size=5) == b"there"
        assert "Authorization" in server.headers[-1] and "Authorization" not in other.headers[-1]


async def test_redirects_end(server: FileServer) -> None:
    server.redirects["/f"] = f"{server.url}/f"
    with pytest.raises(Unreachable, match="redirects"):
        await read(server)


async def test_a_large_answer_to_a_small_question_is_refused(server: FileServer) -> None:
    async with HttpReader(QUICK) as http:
        with pytest.raises(Unreachable, match="more than 1000 bytes"):
            await http.fetch(lambda h: Request(f"{server.url}/f", headers=h), 1000)


async def test_nobody_there() -> None:
    async with HttpReader(QUICK) as http:
        with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9"):
            await http.fetch(lambda h: Request("http://127.0.0.1:9/", headers=h))
