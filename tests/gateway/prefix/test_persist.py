from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from fairlead.clock import VirtualClock
from fairlead.gateway.prefix.persist import PrefixFile
from fairlead.gateway.prefix.tree import PrefixTree
from gateway.prefix.test_tree import prompt
from patience import PATIENCE_S


async def test_a_restarted_picker_knows_what_it_knew(tmp_path) -> None:
    tree = PrefixTree()
    tree.sent("a:1", prompt(1, 2, 3))
    assert PrefixFile(tree, tmp_path / "prefixes").load() == 0
    file = PrefixFile(PrefixTree(), tmp_path / "prefixes")
    file._tree.sent("a:1", prompt(1, 2, 3))
    assert await file.save()
    again = PrefixTree()
    with (tmp_path / "prefixes").open("rb") as reader:
        before = (tmp_path / "prefixes").read_bytes()
        file._tree.sent("a:1", prompt(1, 2, 3))
        assert await file.save()
        assert reader.read() == before, "who reads while it is written reads the old file, whole"
    assert PrefixFile(again, tmp_path / "prefixes").load() == 1
    assert again.match(prompt(1, 2, 9)) == {"a:1": 2}


async def test_it_saves_by_itself_while_things_change(tmp_path) -> None:
    clock, tree, path = VirtualClock(), PrefixTree(), tmp_path / "prefixes"
    keeping = asyncio.ensure_future(PrefixFile(tree, path, period_s=5, clock=clock).keep())
    await clock.advance(6)
    assert not path.exists(), "nothing to save"
    tree.sent("a:1", prompt(1, 2, 3))
    await clock.advance(5)
    async with asyncio.timeout(PATIENCE_S):
        while not path.exists():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    first = path.stat().st_ino
    await clock.advance(6)
    assert path.stat().st_ino == first, "written again without a change"
    keeping.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await keeping


ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


@pytest.mark.parametrize("content", [b"", b"garbage", b"FLPREFX1", None])
def test_a_file_of_no_use_is_a_log_line(tmp_path, caplog, content) -> None:
    path = tmp_path / "prefixes"
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert PrefixFile(PrefixTree(), path).load() == 0
    assert "starts empty" in caplog.text and str(path) in caplog.text


def test_an_absurdly_large_file_is_not_read_whole(tmp_path, caplog) -> None:
    path = tmp_path / "prefixes"
    path.write_bytes(bytes(3000))
    assert PrefixFile(PrefixTree(), path, max_bytes=1000).load() == 0
    assert "larger than 2000 bytes" in caplog.text


def test_a_full_disk_leaves_the_last_good_file(tmp_path) -> None:
    """The kernel refuses to let files grow beyond a limit, in the middle of writing one."""
    code = """
        import asyncio, pathlib, resource, signal, sys
        from fairlead.gateway.prefix.persist import PrefixFile
        from fairlead.gateway.prefix.tree import PrefixTree
        from gateway.prefix.test_tree import prompt

        async def main():
            tree, path = PrefixTree(), pathlib.Path(sys.argv[1])
            file = PrefixFile(tree, path)
            tree.sent("a:1", prompt(*range(100)))
            assert await file.save()
            good = path.read_bytes()
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
            tree.sent("a:1", prompt(*range(100, 10_000)))
            assert not await file.save() and not await file.save()
            assert path.read_bytes() == good and len(list(path.parent.iterdir())) == 1
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            assert await file.save() and len(path.read_bytes()) > len(good)

        asyncio.run(main())
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "prefixes")],
        capture_output=True, text=True, env=ENVIRONMENT, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("is not saved") == 1, "logged once"


def test_a_folder_that_is_not_there_is_no_end_of_the_picker(tmp_path, caplog) -> None:
    tree = PrefixTree()
    file = PrefixFile(tree, tmp_path / "missing" / "prefixes")
    tree.sent("a:1", prompt(1))
    assert not asyncio.run(file.save())
    assert "No such file" in caplog.text


def test_killed_while_writing_it_starts_from_a_whole_file(tmp_path) -> None:
    code = """
        import asyncio, itertools, pathlib, sys
        from fairlead.gateway.prefix.persist import PrefixFile
        from fairlead.gateway.prefix.tree import PrefixTree
        from gateway.prefix.test_tree import prompt

        async def main():
            tree = PrefixTree()
            file = PrefixFile(tree, pathlib.Path(sys.argv[1]))
            for number in itertools.count():
                tree.sent("a:1", prompt(*range(number * 1000, number * 1000 + 5000)))
                assert await file.save()
                print(number, flush=True)

        asyncio.run(main())
    """
    path = tmp_path / "prefixes"
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(path)],
        stdout=subprocess.PIPE, text=True, env=ENVIRONMENT,
    )  # fmt: skip
    assert process.stdout is not None
    for _ in range(20):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait(PATIENCE_S)
    process.stdout.close()
    assert PrefixFile(PrefixTree(), path).load() >= 20
