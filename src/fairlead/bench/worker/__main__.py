"""`python -m fairlead.bench.worker FD | HOST:PORT`."""

from __future__ import annotations

import asyncio
import resource
import signal
import socket
import sys

import uvloop

from fairlead.bench.worker.priority import go_first
from fairlead.bench.worker.process import Worker


async def _main(where: str) -> None:
    # An interrupt from the terminal is the coordinator's to take: it asks for what there is.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))  # a connection is a file
    if where.isdigit():
        reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=int(where)), limit=2**20)
    else:
        host, _, port = where.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port), limit=2**20)
    await Worker(reader, writer, go_first()).run()


if __name__ == "__main__":
    uvloop.run(_main(sys.argv[1]))
