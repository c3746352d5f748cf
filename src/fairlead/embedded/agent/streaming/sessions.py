"""Exec and attach: join a client's channels to a program's streams."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import struct
import termios
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fairlead.embedded.agent import execution
from fairlead.embedded.agent.container import Container
from fairlead.embedded.agent.shim import attach as frames
from fairlead.embedded.agent.streaming.channels import (
    STDERR,
    STDOUT,
    SUCCESS,
    Channels,
    exit_status,
    failure,
)

_CHUNK_BYTES = 1 << 15
_OUTPUT_END_S = 5.0


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """Which streams a client asked for (`core/v1` PodExecOptions, PodAttachOptions)."""

    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    tty: bool = False


async def exec_session(
    container: Container, command: Sequence[str], options: StreamOptions, channels: Channels
) -> None:
    """Run a command in the container until it ends or the client goes away, then tell its exit code."""
    try:
        if options.tty:
            code = await _run_on_terminal(container, command, options, channels)
        else:
            code = await _run_on_pipes(container, command, options, channels)
    except OSError as error:
        await channels.finish(failure(f"error executing command in container: {error}"))
        return
    await channels.finish(exit_status(code))


async def attach_session(container: Container, options: StreamOptions, channels: Channels) -> None:
    """Join the container's own streams until it ends or the client goes away."""
    try:
        reader, writer = await _connect(container)
    except OSError as error:
        await channels.finish(failure(f"error attaching to container: {error}"))
        return
    tasks = [asyncio.ensure_future(_repeat_output(reader, options, channels))]
    if options.stdin:
        tasks.append(asyncio.ensure_future(_send_input(writer, channels)))
    if options.tty:
        tasks.append(asyncio.ensure_future(_send_sizes(writer, channels)))
    closed = asyncio.ensure_future(channels.closed())
    try:
        await asyncio.wait([tasks[0], closed], return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (*tasks, closed):
            task.cancel()
        writer.close()
    await channels.finish(SUCCESS)


async def _run_on_pipes(
    container: Container, command: Sequence[str], options: StreamOptions, channels: Channels
) -> int:
    pipe, null = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    process = await execution.spawn(
        container,
        command,
        stdin=pipe if options.stdin else null,
        stdout=pipe if options.stdout else null,
        stderr=pipe if options.stderr else null,
    )
    outputs = [
        asyncio.ensure_future(_pump(stream, number, channels))
        for stream, number in ((process.stdout, STDOUT), (process.stderr, STDERR))
        if stream is not None
    ]
    feeding = [asyncio.ensure_future(_feed(process.stdin, channels))] if process.stdin is not None else []
    return await _until_end(process, outputs, feeding, channels)


async def _run_on_terminal(
    container: Container, command: Sequence[str], options: StreamOptions, channels: Channels
) -> int:
    master, slave = pty.openpty()
    try:
        process = await execution.spawn(container, command, stdin=slave, stdout=slave, stderr=slave, tty=True)
    except BaseException:
        os.close(master)
        raise
    finally:
        os.close(slave)
    os.set_blocking(master, False)
    terminal = _Terminal(master)
    outputs = [asyncio.ensure_future(terminal.repeat(channels))]
    feeding = [asyncio.ensure_future(terminal.resize(channels))]
    if options.stdin:
        feeding.append(asyncio.ensure_future(terminal.feed(channels)))
    try:
        return await _until_end(process, outputs, feeding, channels)
    finally:
        terminal.close()


async def _until_end(
    process: asyncio.subprocess.Process,
    outputs: Sequence[asyncio.Future[None]],
    feeding: Sequence[asyncio.Future[None]],
    channels: Channels,
) -> int:
    """Wait for the program's end and its whole output; a client that leaves ends the program."""
    closed = asyncio.ensure_future(channels.closed())
    ended = asyncio.ensure_future(process.wait())
    everything: set[asyncio.Future[Any]] = {ended, closed}
    try:
        await asyncio.wait(everything, return_when=asyncio.FIRST_COMPLETED)
        if ended.done() and outputs:
            # Background children may hold the pipes open for ever: the command's own output comes within moments.
            await asyncio.wait(outputs, timeout=_OUTPUT_END_S)
    finally:
        execution.end(process)
        for task in (*outputs, *feeding, closed):
            task.cancel()
    code = await ended
    return 128 - code if code < 0 else code


async def _pump(stream: asyncio.StreamReader, number: int, channels: Channels) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await stream.read(_CHUNK_BYTES):
            await channels.write(number, data)


async def _feed(stdin: asyncio.StreamWriter, channels: Channels) -> None:
    with contextlib.suppress(ConnectionError, OSError):
        while data := await channels.read_stdin():
            stdin.write(data)
            await stdin.drain()
        stdin.close()


class _Terminal:
    """The master side of a pseudo terminal on the event loop."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def close(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._descriptor)
        loop.remove_writer(self._descriptor)
        os.close(self._descriptor)

    async def repeat(self, channels: Channels) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await self._read():
                await channels.write(STDOUT, data)

    async def feed(self, channels: Channels) -> None:
        while data := await channels.read_stdin():
            while data:
                await self._ready(write=True)
                try:
                    data = data[os.write(self._descriptor, data) :]
                except BlockingIOError:
                    continue
                except OSError:
                    return
        with contextlib.suppress(OSError):
            # The end of input reaches a terminal's reader as the EOF character.
            os.write(self._descriptor, b"\x04")

    async def resize(self, channels: Channels) -> None:
        while size := await channels.next_resize():
            packed = struct.pack("HHHH", size["Height"], size["Width"], 0, 0)
            with contextlib.suppress(OSError):
                fcntl.ioctl(self._descriptor, termios.TIOCSWINSZ, packed)

    async def _read(self) -> bytes:
        while True:
            await self._ready(write=False)
            try:
                return os.read(self._descriptor, _CHUNK_BYTES)
            except BlockingIOError:
                continue
            except OSError:
                # EIO: nobody has the other side open any more.
                return b""

    async def _ready(self, *, write: bool) -> None:
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()
        add, remove = (loop.add_writer, loop.remove_writer) if write else (loop.add_reader, loop.remove_reader)
        add(self._descriptor, lambda: None if ready.done() else ready.set_result(None))
        try:
            await ready
        finally:
            remove(self._descriptor)


async def _connect(container: Container) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    # The socket's own path may be too long for the kernel: it is reached through an open folder.
    folder = os.open(container.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return await asyncio.open_unix_connection(f"/proc/self/fd/{folder}/attach.sock")
    finally:
        os.close(folder)


async def _repeat_output(reader: asyncio.StreamReader, options: StreamOptions, channels: Channels) -> None:
    wanted = {frames.STDOUT: options.stdout, frames.STDERR: options.stderr and not options.tty}
    with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
        while True:
            kind, length = frames.HEADER.unpack(await reader.readexactly(frames.HEADER.size))
            data = await reader.readexactly(length)
            if wanted.get(kind):
                await channels.write(STDOUT if kind == frames.STDOUT else STDERR, data)


async def _send_input(writer: asyncio.StreamWriter, channels: Channels) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await channels.read_stdin():
            writer.write(frames.HEADER.pack(frames.STDIN, len(data)) + data)
            await writer.drain()
        writer.write(frames.HEADER.pack(frames.STDIN_CLOSED, 0))
        await writer.drain()


async def _send_sizes(writer: asyncio.StreamWriter, channels: Channels) -> None:
    with contextlib.suppress(ConnectionError):
        while size := await channels.next_resize():
            data = json.dumps(size).encode()
            writer.write(frames.HEADER.pack(frames.RESIZE, len(data)) + data)
            await writer.drain()
