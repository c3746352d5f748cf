"""Which failed requests are worth another try, and how it is made."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from fairlead.clock import SYSTEM, Clock
from fairlead.kube.authorization import CredentialsError
from fairlead.kube.backoff import Backoff
from fairlead.kube.errors import ApiError
from fairlead.kube.transport import Unreachable

_LOG = logging.getLogger("fairlead.scheduling")
T = TypeVar("T")

STORM_BACKOFF: Final = Backoff(first_s=0.1, max_s=5.0)


class CommitFailedError(Exception):
    """What was decided cannot be written, however often one tries; the text says why."""


def is_passing(error: BaseException) -> bool:
    """Whether an error says nothing about the object, only about the server or the way to it."""
    if isinstance(error, ApiError):
        return error.http_code >= 500 or error.http_code == 429
    return isinstance(error, Unreachable | TimeoutError | CredentialsError)


class Requests:
    """At most so many requests at a time, each again while the server is in trouble."""

    def __init__(self, concurrency: int, patience_s: float, *, clock: Clock = SYSTEM) -> None:
        """`patience_s`: how long a request is tried before it counts as failed."""
        self.made = 0
        """Requests sent so far, repeated ones too."""
        self._places = asyncio.Semaphore(concurrency)
        self._patience_s = patience_s
        self._clock = clock

    async def send(self, request: Callable[[], Awaitable[T]], what: str) -> T:
        """The answer. Raises ApiError for one about the object, CommitFailedError after `patience_s` without any."""
        deadline_s = self._clock.monotonic_s() + self._patience_s
        failures = 0
        while True:
            try:
                # The place is free again during a delay: others may be luckier.
                async with self._places:
                    self.made += 1
                    return await request()
            except (ApiError, Unreachable, TimeoutError, CredentialsError) as error:
                if not is_passing(error):
                    raise
                failures += 1
                delay_s = STORM_BACKOFF.delay_s(failures)
                if self._clock.monotonic_s() + delay_s > deadline_s:
                    raise CommitFailedError(f"{what}: {error or type(error).__name__}") from error
                _LOG.log(logging.INFO if failures == 1 else logging.DEBUG, "%s: %s; trying again", what, error)
            await self._clock.sleep(delay_s)
