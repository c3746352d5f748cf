"""What an event loop works off after it stood still is stamped late, and it says by how much."""

from __future__ import annotations

import asyncio
import socket
import time

from fairlead.bench.worker.alarm import Alarm
from fairlead.bench.worker.beat import EVERY_S, Beat


async def test_what_lay_there_while_the_loop_stood_still_is_late_by_that() -> None:
    loop = asyncio.get_running_loop()
    alarm = Alarm(loop)
    beat = Beat(loop, alarm)
    beat.begin()
    late: list[float] = []
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        come: asyncio.Future[None] = loop.create_future()

        def read() -> None:
            ours.recv(1)
            late.append(beat.late_s(time.monotonic()))
            if len(late) == 2:
                come.set_result(None)

        loop.add_reader(ours, read)
        await asyncio.sleep(EVERY_S / 2)
        theirs.send(b"1")
        time.sleep(0.1)  # noqa: ASYNC251 (the loop stands still)
        await asyncio.sleep(2 * EVERY_S)
        theirs.send(b"2")
        await come
        loop.remove_reader(ours)
    assert late[0] >= 0.1 - EVERY_S
    assert late[1] < late[0]
    assert max(beat.taken()) >= 0.1 - EVERY_S and beat.taken() == []
    alarm.close()
