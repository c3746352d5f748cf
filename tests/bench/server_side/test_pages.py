"""Pages that hang, cut, are garbage, or have no end: nobody but the figure that they would have made pays for it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from bench.server_side.pages import VLLM, answer, engine, looked_at, pages, serving
from fairlead.bench.run.observing import Observed
from fairlead.bench.server_side.observer import ServerObserver
from fairlead.bench.server_side.page import Page, address_of
from fairlead.clock import SYSTEM
from fairlead.engines.page_client import MAX_PAGE_BYTES, PageError
from patience import PATIENCE_S


async def hang(writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(PATIENCE_S)


async def reset(writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def trickle(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"x")
        await asyncio.sleep(0.02)


async def no_end(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n")
    for _ in range(1024):
        writer.write(b"vllm:num_requests_running 1\n" * 40_000)
        await writer.drain()


@pytest.mark.parametrize(
    ("handler", "said"),
    [
        (hang, "no whole page within"),
        (trickle, "no whole page within"),
        (reset, "connection lost"),
        (no_end, f"more than {MAX_PAGE_BYTES} bytes"),
        (pages(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n"), "content-length 1073741824"),
        (pages(answer(b"", "404 Not Found")), "HTTP 404"),
        (pages(answer(b"<html>", kind="text/html")), "content-type text/html"),
        (pages(b"\x00\xff garbage \r\n\r\n"), "no HTTP answer"),
    ],
    ids=["hangs", "trickles", "resets", "has no end", "1 GiB", "404", "a web page", "garbage"],
)
async def test_a_bad_page_is_an_answer_within_its_time(handler: Any, said: str) -> None:
    async with serving(handler) as served:
        page = Page(address_of(served.authority))
        look = await asyncio.wait_for(page.look(0.3), PATIENCE_S)
        page.close()
    assert isinstance(look.outcome, PageError) and said in look.outcome.message


async def test_a_connection_is_kept_and_made_again_where_it_was_closed() -> None:
    async with serving(pages(answer(VLLM))) as served:
        page = Page(address_of(served.authority), token="t0p")
        assert [(await page.look(5.0)).outcome for _ in range(3)] == [VLLM] * 3
        assert served.connections == 1
        served.cut()
        assert (await page.look(5.0)).outcome == VLLM
        assert served.connections == 2
        page.close()
    assert b"\r\nAuthorization: Bearer t0p\r\n" in served.heads[0]
    assert served.heads[0].count(b"\r\n\r\n") == 1
    look = await page.look(1.0)
    assert isinstance(look.outcome, PageError) and look.outcome.refused


def test_addresses_are_what_people_write() -> None:
    assert address_of("h:1") == ("h", 1, "/metrics", False, "")
    assert address_of("[::1]:1").authority == "[::1]:1"
    assert address_of("https://h/") == ("h", 443, "/metrics", True, "")
    assert address_of("http://h:2/a/b?x=1") == ("h", 2, "/a/b?x=1", False, "")
    assert address_of("unix:/run/a.sock").url == "unix:/run/a.sock"
    assert address_of("http://h:2/a/b?x=secret").url == "http://h:2/a/b"


async def watched(server: dict[str, Any], until: Any) -> Observed:
    observer = ServerObserver(looked_at(server))
    await observer.prepare()
    observer.begin(SYSTEM.monotonic_s())
    await asyncio.wait_for(until(), PATIENCE_S)
    return await asyncio.wait_for(observer.end(), PATIENCE_S)


async def test_bad_pages_cost_the_good_one_nothing() -> None:
    good = pages(*(answer(engine(10 * k, running=k)) for k in range(200)))
    nonsense = pages(answer(b"up 1\n\xff\xfe{{{ 3\n" * 1000))
    async with serving(good) as a, serving(hang) as b, serving(nonsense) as c, serving(no_end) as d:
        addresses = [a.authority, b.authority, c.authority, d.authority, "127.0.0.1:1"]
        seen = await watched({"engines": addresses}, lambda: a.reached(12))
    (tokens,) = (s for s in seen.series if (s.source, s.name) == (a.authority, "output_tokens_per_s"))
    assert len(tokens.values) >= 12 and None not in tokens.values[1:]
    total = sum(
        (v or 0.0) * (t - u) for t, u, v in zip(tokens.times_s[1:], tokens.times_s, tokens.values[1:], strict=False)
    )
    assert total == pytest.approx(10 * (a.asked - 1), rel=1e-6)
    notes = [note for note in seen.notes if "looks were left out" not in note]  # (of a machine that is busy)
    told = {address: [n for n in notes if n.startswith(address)] for address in addresses}
    assert told.pop(a.authority) == []
    assert all(len(notes) == 1 and "gave nothing" in notes[0] for notes in told.values()), seen.notes
    assert "no metric of an engine that is known" in told[c.authority][0]
    assert "connection refused" in told["127.0.0.1:1"][0] and "(100%)" in told["127.0.0.1:1"][0]


async def test_a_look_that_gave_nothing_is_no_value() -> None:
    bodies = [answer(engine(0)), answer(engine(5)), answer(b"", "503 Busy"), answer(engine(20)), answer(engine(20))]
    async with serving(pages(*bodies)) as served:
        seen = await watched({"engines": [served.authority]}, lambda: served.reached(6))
    by_name = {s.name: s for s in seen.series}
    assert by_name["running_requests"].values[2] is None
    tokens = by_name["output_tokens_per_s"]
    assert tokens.values[0] is None and tokens.values[2] is None
    assert tokens.values[3] == pytest.approx(15 / (tokens.times_s[3] - tokens.times_s[1]), rel=1e-6)


async def test_an_engine_that_was_restarted_is_told_and_never_counts_backwards() -> None:
    bodies = [engine(1000), engine(1100), engine(7, started_s=2000), engine(12, started_s=2000)]
    async with serving(pages(*map(answer, bodies))) as served:
        seen = await watched({"engines": [served.authority]}, lambda: served.reached(6))
    (tokens,) = (s for s in seen.series if s.name == "output_tokens_per_s")
    assert all(v is None or v >= 0 for v in tokens.values)
    assert any(f"{served.authority} was restarted" in note for note in seen.notes)


async def test_several_engines_behind_one_address_are_no_engine() -> None:
    bodies = [engine(k if k % 2 else 5000 + k, started_s=1000 + k % 2) for k in range(40)]
    async with serving(pages(*map(answer, bodies))) as served:
        seen = await watched({"engines": [served.authority]}, lambda: served.reached(10))
    assert seen.series == ()
    assert any("several servers answer there" in note for note in seen.notes)


async def test_an_engine_is_told_by_its_page_and_its_page_by_trying() -> None:
    async with serving(pages(answer(b"", "404 Not Found"), answer(VLLM))) as served:
        observer = ServerObserver(looked_at({"engines": [served.authority]}))
        await observer.prepare()
        observer.begin(SYSTEM.monotonic_s())
        await served.reached(3)
        await observer.end()
    assert served.heads[0].startswith(b"GET /metrics ") and served.heads[1].startswith(b"GET /prometheus/metrics ")


async def test_ended_before_it_began_it_has_nothing_to_say() -> None:
    async with serving(pages(answer(VLLM))) as served:
        observer = ServerObserver(looked_at({"engines": [served.authority]}))
        await observer.prepare()
        seen = await observer.end()
    assert seen.complete is not None and seen.notes == ()
