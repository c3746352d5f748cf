"""What providers read: given bytes, files of an allowed folder, allowed addresses, commands of this machine.

Everything has a size limit (64 MiB) and a time limit (30 s by default): a source that hangs is a SourceUnavailable.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from fairlead.devices.topology.errors import SourceError, SourceUnavailable, Unsupported

LIMIT_BYTES = 64 << 20

METADATA_HEADERS: Mapping[str, Mapping[str, str]] = {
    "gcp": {"Metadata-Flavor": "Google"},
    "oci": {"Authorization": "Bearer Oracle"},
    "nebius": {"Metadata": "true"},
}
"""Headers that clouds' metadata servers insist on; they keep browsers out and are no secrets."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """`given`: the input itself (the command line's --input). Else `folder` is where `params.input` and model files
    lie, bare names only; `endpoint` is the address that an operator configured, with `headers`. `commands`: whether
    a provider may run its tool (ibnetdiscover) on this machine."""

    given: bytes | None = None
    folder: Path | None = None
    endpoint: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    commands: bool = False
    timeout_s: float = 30.0

    async def text(self, params: Mapping[str, Any], command: Sequence[str] = ()) -> str:
        """Raises SourceUnavailable, SourceError, Unsupported where nothing is given."""
        return _decoded(await self._bytes(params, command))

    async def model(self, name: Any) -> str:
        """A simulation model by its bare name."""
        if self.folder is None:
            raise Unsupported(f'modelFileName "{name}": no folder of models is configured; start with --inputs DIR')
        return _decoded(await asyncio.to_thread(self._file, name, "modelFileName"))

    async def _bytes(self, params: Mapping[str, Any], command: Sequence[str]) -> bytes:
        if self.given is not None:
            return self.given
        if (name := params.get("input")) is not None:
            if self.folder is None:
                raise Unsupported(f'params.input "{name}": no folder of inputs is configured; start with --inputs DIR')
            return await asyncio.to_thread(self._file, name, "params.input")
        if self.endpoint:
            return await fetch(self.endpoint, self.headers, self.timeout_s)
        if command and self.commands:
            return await run(command, self.timeout_s)
        raise Unsupported("nothing to read: give --input FILE or --endpoint URL (a server's client: params.input)")

    def _file(self, name: Any, field_name: str) -> bytes:
        assert self.folder is not None
        if not isinstance(name, str) or not name or name != Path(name).name or name in (".", ".."):
            raise Unsupported(f'{field_name} "{name}" must be a bare file name, not a path')
        try:
            return read_file(self.folder / name, ordinary=True)
        except SourceError as error:
            raise Unsupported(f"{field_name}: {error}") from error


def read_file(path: Path, *, ordinary: bool = False) -> bytes:
    """`ordinary`: pipes and devices are refused, which might never end. Raises SourceError."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_CLOEXEC | (os.O_NONBLOCK if ordinary else 0)), "rb") as file:
            if ordinary and not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise SourceError(f"{path.name}: is not an ordinary file")
            raw = file.read(LIMIT_BYTES + 1)
    except OSError as error:
        raise SourceError(f"{path.name}: {error.strerror}") from error
    except ValueError as error:
        raise SourceError(f"{path.name!r}: not a file name ({error})") from error
    if len(raw) > LIMIT_BYTES:
        raise SourceError(f"{path.name}: larger than {LIMIT_BYTES >> 20} MiB")
    return raw


async def fetch(url: str, headers: Mapping[str, str], timeout_s: float) -> bytes:
    """A GET within the time limit, its body too. Raises SourceUnavailable, and SourceError for an answer 4xx."""
    try:
        async with (
            asyncio.timeout(timeout_s),
            aiohttp.ClientSession() as session,
            session.get(url, headers=headers, allow_redirects=False) as answer,
        ):
            if answer.status != 200:
                kind = (
                    SourceError if 400 <= answer.status < 500 and answer.status not in (408, 429) else SourceUnavailable
                )
                raise kind(f"{url}: answered {answer.status}")
            body = bytearray()
            async for chunk in answer.content.iter_any():
                body += chunk
                if len(body) > LIMIT_BYTES:
                    raise SourceError(f"{url}: the answer is larger than {LIMIT_BYTES >> 20} MiB")
            return bytes(body)
    except TimeoutError:
        raise SourceUnavailable(f"{url}: no whole answer within {timeout_s:g} s") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        raise SourceUnavailable(f"{url}: {error or type(error).__name__}") from error


async def run(command: Sequence[str], timeout_s: float) -> bytes:
    """What a command prints. Raises SourceUnavailable: it is not there, fails, or does not end in time."""
    name = command[0]
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
    except OSError as error:
        raise SourceUnavailable(f"{name}: {error.strerror}; install it, or give its output as --input") from error
    try:
        async with asyncio.timeout(timeout_s):
            out, err = await process.communicate()
    except TimeoutError:
        raise SourceUnavailable(f"{name}: does not end within {timeout_s:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        last = err.decode(errors="replace").strip().rpartition("\n")[2]
        raise SourceUnavailable(f"{name}: ended with {process.returncode}: {last[:200]}")
    return out


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise SourceError("the input is not text (UTF-8)") from None
