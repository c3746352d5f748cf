"""What was acknowledged survives `kill -9`, whenever it comes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from fairlead.embedded.apiserver.store import Store

WRITER = textwrap.dedent(
    """
    import asyncio, sys
    from pathlib import Path
    from fairlead.embedded.apiserver.store import Store

    async def client(store, number):
        for turn in range(100000):
            name = f"c{number}/n{turn % 7}"
            value = b'{"metadata":{},"turn":%d}' % turn
            record = await store.write("/core/pods/", name, value, deleted=turn % 11 == 10)
            print(record.version, name, turn, int(record.deleted), flush=True)

    async def main():
        store = Store(Path(sys.argv[1]), history_changes=200)
        store.start()
        await asyncio.gather(*(client(store, number) for number in range(8)))

    asyncio.run(main())
    """
)


@pytest.mark.parametrize("after_s", [0.15, 0.4])
def test_acknowledged_writes_survive_kill(tmp_path: Path, after_s: float) -> None:
    with subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(after_s)
        os.kill(process.pid, signal.SIGKILL)
        lines = [first, *process.stdout.read().splitlines()]
    # name -> version, turn and deleted of the last acknowledged write
    acknowledged: dict[str, tuple[int, int, bool]] = {}
    for line in lines:
        parts = line.split()
        if len(parts) == 4:
            acknowledged[parts[1]] = (int(parts[0]), int(parts[2]), parts[3] == "1")
    assert len(acknowledged) > 8
    store = Store(tmp_path)
    assert store.version >= max(version for version, _, _ in acknowledged.values())
    for name, (version, turn, deleted) in acknowledged.items():
        record = store.get("/core/pods/", name)
        if record is None or record.version != version:
            # A later write of the same client may be durable and yet not acknowledged.
            assert deleted or record is None or record.version > version
            continue
        assert b'"turn":%d}' % turn in store.value(record)
    store.close()
