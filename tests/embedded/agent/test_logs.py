"""Log files: lines whole and in order, whatever the chunks, rotations and options."""

from __future__ import annotations

import asyncio
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.embedded.agent.logs import LogOptions, log_files, read_log
from fairlead.embedded.agent.shim.journal import Journal
from patience import PATIENCE_S


def read(path: Path, **options: object) -> bytes:
    async def collect() -> bytes:
        return b"".join([p async for p in read_log(path, LogOptions(**options), lambda: False)])

    return asyncio.run(collect())


@settings(max_examples=60, deadline=None)
@given(
    chunks=st.lists(st.binary(max_size=200) | st.just(b"x" * 40_000 + b"\n"), max_size=12),
    max_bytes=st.integers(100, 100_000),
)
def test_what_goes_in_comes_out(tmp_path_factory, chunks: list[bytes], max_bytes: int):
    path = tmp_path_factory.mktemp("log") / "0.log"
    journal = Journal(str(path), max_bytes, 1000)
    for chunk in chunks:
        journal.write("stdout", chunk)
    journal.close()
    assert read(path) == b"".join(chunks)


@settings(max_examples=60, deadline=None)
@given(lines=st.integers(0, 60), tail=st.integers(0, 80), max_bytes=st.integers(60, 3000))
def test_tail_spans_rotations(tmp_path_factory, lines: int, tail: int, max_bytes: int):
    path = tmp_path_factory.mktemp("log") / "0.log"
    journal = Journal(str(path), max_bytes, 1000)
    written = [f"line {number}\n".encode() for number in range(lines)]
    for line in written:
        journal.write("stdout", line)
    journal.close()
    assert read(path, tail_lines=tail) == b"".join(written[max(0, lines - tail) :])


def test_only_so_many_files_are_kept(tmp_path: Path):
    path = tmp_path / "0.log"
    journal = Journal(str(path), 200, 3)
    for number in range(100):
        journal.write("stdout", f"line {number}\n".encode())
    journal.close()
    assert len(log_files(path)) == 3
    assert read(path).endswith(b"line 99\n")


def test_options(tmp_path: Path):
    path = tmp_path / "0.log"
    path.write_bytes(
        b"2026-01-01T00:00:00.000000001Z stdout F old\n"
        b"2026-01-01T00:00:10.500000000Z stderr F problem\n"
        b"2026-01-01T00:00:20.000000000Z stdout P no new\n"
        b"2026-01-01T00:00:20.000000000Z stdout F line\n"
    )
    assert read(path) == b"old\nproblem\nno newline\n"
    assert read(path, since_wall_s=1767225605.0) == b"problem\nno newline\n"
    assert read(path, stream="stderr", timestamps=True) == b"2026-01-01T00:00:10.500000000Z problem\n"
    assert read(path, limit_bytes=6) == b"old\npr"


async def test_following_across_rotations_loses_nothing(tmp_path: Path):
    path, running = tmp_path / "0.log", True
    journal = Journal(str(path), 500, 50)

    async def follow() -> bytes:
        return b"".join([p async for p in read_log(path, LogOptions(follow=True), lambda: running)])

    following = asyncio.ensure_future(follow())
    for number in range(300):
        journal.write("stdout", f"line {number}\n".encode())
        if number % 60 == 0:
            await asyncio.sleep(0.05)
    journal.close()
    running = False
    async with asyncio.timeout(PATIENCE_S):
        assert (await following) == b"".join(f"line {n}\n".encode() for n in range(300))


def test_a_disk_that_fills_up_is_told_of_afterwards(tmp_path: Path):
    path = tmp_path / "0.log"
    journal = Journal("/dev/full", 10_000, 3)
    journal.write("stdout", b"lost 1\nlost 2\n")
    journal._path = str(path)
    journal._file = -1
    journal.write("stdout", b"kept\n")
    journal.close()
    assert read(path) == b"fairlead: 2 lines were dropped because the log could not be written\nkept\n"


def test_following_ends_with_the_container(tmp_path: Path):
    path = tmp_path / "0.log"
    Journal(str(path), 1000, 2).close()
    assert read(path, follow=True) == b""
