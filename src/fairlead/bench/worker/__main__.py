"""`python -m fairlead.bench.worker FD | HOST:PORT`: of a coordinator that started it, or that it is to call (the
environment says with what, `cluster.calling`). Exit status 1: the run was not ended as it should be, and why on stderr.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import sys

import uvloop

from fairlead.bench.worker.priority import go_first
from fairlead.bench.worker.process import Worker


async def _main(where: str) -> int:
    # An interrupt from the terminal is the coordinator's to take: it asks for what there is.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))  # a connection is a file
    if where.isdigit():
        reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=int(where)), limit=2**20)
        await Worker(reader, writer, go_first()).run()
        return 0
    return await _call(where)


async def _call(where: str) -> int:
    from fairlead.bench.cluster.calling import NobodyThere, call

    # The first process of a container gets no signal that it does not handle.
    signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))
    host, _, port = where.rpartition(":")
    try:
        reader, writer = await call(host, int(port))
        if await Worker(reader, writer, go_first()).run():
            return 0
        said = "the coordinator hung up before the run had ended"
    except NobodyThere as error:
        said = str(error)
    except OSError as error:
        said = f"the coordinator is gone: {error}"
    print(f"fairlead bench worker: {said}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(uvloop.run(_main(sys.argv[1])))
