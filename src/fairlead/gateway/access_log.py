"""Keeps Envoy's access log file small: renamed when large, and Envoy told to open a new one."""

from __future__ import annotations

import logging
from pathlib import Path

import aiohttp

from fairlead.clock import SYSTEM, Clock

MAX_BYTES = 32 * 1024 * 1024
"""With the one older file that is kept, the log takes at most twice this, plus what arrives between two looks."""

CHECK_INTERVAL_S = 30.0
_TIMEOUT_S = 5.0

_log = logging.getLogger(__name__)


async def keep_small(path: Path, admin_socket: Path, *, max_bytes: int = MAX_BYTES, clock: Clock = SYSTEM) -> None:
    """Look again and again until cancelled; a failure to rotate is logged and tried again."""
    while True:
        try:
            await rotate_if_large(path, admin_socket, max_bytes)
        except (OSError, aiohttp.ClientError, TimeoutError) as error:
            _log.warning("cannot rotate %s: %s", path, error)
        await clock.sleep(CHECK_INTERVAL_S)


async def rotate_if_large(path: Path, admin_socket: Path, max_bytes: int) -> bool:
    """Whether the log was rotated. Raises OSError, aiohttp.ClientError or TimeoutError."""
    if not _rename_if_large(path, max_bytes):
        return False
    timeout = aiohttp.ClientTimeout(total=_TIMEOUT_S)
    async with (
        aiohttp.ClientSession(timeout=timeout, connector=aiohttp.UnixConnector(str(admin_socket))) as session,
        session.post("http://envoy/reopen_logs") as response,
    ):
        response.raise_for_status()
    return True


def _rename_if_large(path: Path, max_bytes: int) -> bool:
    try:
        if path.stat().st_size <= max_bytes:
            return False
        path.replace(path.with_name(path.name + ".1"))
    except FileNotFoundError:
        return False
    return True
