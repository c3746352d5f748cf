"""The prefill leg: the gateway has a prompt computed by one engine and hands another what it needs to go on.

A leg that fails is tried at the next prefill endpoint, and when there is none left the answering engine computes the
prompt itself: a request is never lost to its prefill leg.

A prefill engine holds a finished prompt's KV blocks until they are fetched, or for minutes. A client that leaves must
not leave them held: a leg that is almost done is let finish, and the answering endpoint fetches the blocks for nobody;
a longer one is cancelled with its connection, by which the engine gives up the prompt. A client that leaves between the
legs is `release`'s case.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from fairlead.clock import SYSTEM, Clock
from fairlead.engines.handoff import Handoff, HandoffError, Meeting
from fairlead.gateway.disaggregation.bodies import (
    Fields,
    cannot_split,
    decode_body,
    prefill_body,
    releasing_body,
    taken_from,
    whole_body,
)
from fairlead.gateway.disaggregation.decide import Split
from fairlead.gateway.disaggregation.post import Attempt, LegFailed, LegRefused, Poster, sent_headers
from fairlead.gateway.pick import Pick, Query
from fairlead.gateway.picker import EndpointPicker
from fairlead.gateway.prefix.index import PromptBlocks
from fairlead.gateway.requests import Api, top_level

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class LegSettings:
    """How a prefill leg is run. Seconds."""

    attempts: int = 2
    """Prefill endpoints to try before the answering engine does it itself."""
    connect_s: float = 2.0
    answer_s: float = 120.0
    """For one attempt, the engine's queue included."""
    finish_s: float = 1.0
    """How long a leg whose client left may go on, so that its end is known and its KV blocks can be freed."""
    watch_s: float = 0.5
    """How often to look whether the endpoint is still taken to be reachable."""


@dataclass(frozen=True, slots=True)
class LegRequest:
    """A request that is to be split."""

    api: Api
    path: str
    """With query."""
    body: bytes
    headers: Mapping[str, str]
    """Lower-case name -> value, to be sent along (authorization, x-request-id, traceparent)."""
    query: Query
    decode: str
    """Address of the endpoint that answers."""
    blocks: PromptBlocks | None = None


@dataclass(slots=True)
class Leg:
    """What became of the prefill leg."""

    body: bytes
    """For the answering endpoint."""
    prefill: str = ""
    """The endpoint that computed the prompt, or does so at this moment; empty = the answering endpoint has to."""
    failures: tuple[str, ...] = ()
    """Why endpoints did not do it, for people."""
    took_s: float = 0.0
    prompt_tokens: int | None = None
    """As the prefill engine counted them."""
    cached_tokens: int | None = None
    """Those it had in its cache."""
    background: asyncio.Task[None] | None = None
    """The leg where it runs beside the answer; to be given to `PrefillLegs.ended` when the answer is over."""


class PrefillLegs:
    """Runs prefill legs and counts them as in flight at their endpoints. One event loop owns it."""

    def __init__(
        self,
        picker: EndpointPicker,
        clock: Clock = SYSTEM,
        settings: LegSettings | None = None,
        *,
        draw_room: Callable[[], int] = lambda: secrets.randbits(63),
    ) -> None:
        self._picker = picker
        self._clock = clock
        self._settings = settings or LegSettings()
        self._draw_room = draw_room
        self._post = Poster(self._settings.connect_s, self._settings.answer_s)
        self._tasks: set[asyncio.Task[Any]] = set()

    async def close(self) -> None:
        """Cancel what runs in the background and close all connections."""
        while self._tasks:
            for task in tuple(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._post.close()

    async def run(self, request: LegRequest, split: Split, handoff: Handoff) -> Leg:
        """The prefill leg of a request, after which `Leg.body` goes to the answering endpoint.

        Raises BadBody for a body that is no JSON object. Cancel it when the client leaves.
        """
        began_s = self._clock.monotonic_s()
        fields = top_level(request.body)
        failures: list[str] = []
        reason = cannot_split(request.api, handoff, fields)
        if reason:
            return Leg(whole_body(request.body, fields), failures=(reason,))
        tries = (split.prefill.address, *split.prefill.fallbacks)[: self._settings.attempts]
        run = self._run_beside if handoff.concurrent else self._run_before
        for address in tries:
            try:
                leg = await run(request, fields, address, split.matched.get(address, 0), handoff)
            except LegFailed as error:
                failures.append(f"{address}: {error}")
                continue
            except LegRefused as error:
                # The answering engine will say the same to the client, in its own words.
                failures.append(f"{address}: {error}")
                break
            leg.failures = tuple(failures)
            leg.took_s = self._clock.monotonic_s() - began_s
            return leg
        took_s = self._clock.monotonic_s() - began_s
        return Leg(whole_body(request.body, fields), failures=tuple(failures), took_s=took_s)

    def ended(self, leg: Leg) -> None:
        """The answer is over, or the client left: a leg that still runs beside it is of no use."""
        if leg.background is not None:
            leg.background.cancel()

    def release(self, request: LegRequest, leg: Leg) -> None:
        """The client left between the legs: have the answering endpoint fetch the KV blocks, which frees them."""
        if leg.prefill and leg.background is None:
            self._start(self._fetch_for_nobody(request, leg.body))

    async def _run_before(
        self, request: LegRequest, fields: Fields, address: str, matched: int, handoff: Handoff
    ) -> Leg:
        """Prefill first, then the answer."""
        meeting = Meeting(_host(address))
        attempt = Attempt(address, request.path, sent_headers(request.headers))
        body = prefill_body(request.api, handoff, fields, meeting)
        answering = self._start(self._counted(request, attempt, body, matched))
        try:
            answer = await asyncio.shield(answering)
        except asyncio.CancelledError:
            self._start(self._wind_down(request, fields, handoff, meeting, answering))
            raise
        try:
            taken, prompt_tokens, cached_tokens = taken_from(handoff, answer)
        except HandoffError as error:
            raise LegFailed(str(error)) from error
        decode = decode_body(handoff, fields, taken, meeting)
        return Leg(decode, address, prompt_tokens=prompt_tokens, cached_tokens=cached_tokens)

    async def _run_beside(
        self, request: LegRequest, fields: Fields, address: str, matched: int, handoff: Handoff
    ) -> Leg:
        """Prefill and the answer at the same time: the leg is begun, and goes on in the background."""
        meeting = Meeting(_host(address), room=self._draw_room())
        attempt = Attempt(address, request.path, sent_headers(request.headers), asyncio.Event())
        body = prefill_body(request.api, handoff, fields, meeting)
        task = self._start(self._counted_beside(request, attempt, body, matched))
        sent = asyncio.ensure_future(attempt.sent.wait())  # type: ignore[union-attr]
        try:
            await asyncio.wait((task, sent), return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            task.cancel()
            raise
        finally:
            sent.cancel()
        if task.done() and attempt.failure is not None:
            raise attempt.failure
        return Leg(decode_body(handoff, fields, {}, meeting), address, background=task)

    async def _counted_beside(self, request: LegRequest, attempt: Attempt, body: bytes, matched: int) -> None:
        try:
            await self._counted(request, attempt, body, matched)
        except (LegFailed, LegRefused) as error:
            attempt.failure = error

    async def _counted(self, request: LegRequest, attempt: Attempt, body: bytes, matched: int) -> bytes:
        """The answer of the prefill engine, whose load the request is part of meanwhile."""
        address, picker = attempt.address, self._picker
        began_s = self._clock.monotonic_s()
        query = replace(request.query, output_tokens=1.0)
        pick = Pick(address, (), "prefill leg")
        picked = picker.commit(pick, query, request.blocks, matched, began_s)
        ttft_s = None
        try:
            answer = await self._post.answer(
                attempt, body, lambda: picker.loads.of(address).reachable, self._settings.watch_s
            )
            ttft_s = self._clock.monotonic_s() - began_s
            return answer
        except LegFailed as error:
            if error.refused:
                picker.loads.connect_failed(address)
            raise
        finally:
            picker.ended(picked.pick_id, ttft_s=ttft_s)

    async def _wind_down(
        self, request: LegRequest, fields: Fields, handoff: Handoff, meeting: Meeting, answering: asyncio.Task[bytes]
    ) -> None:
        """After the client has left within a leg."""
        await asyncio.wait((answering,), timeout=self._settings.finish_s)
        if not answering.done():
            answering.cancel()
            return
        with suppress(LegFailed, LegRefused, HandoffError, asyncio.CancelledError):
            taken, _, _ = taken_from(handoff, answering.result())
            await self._fetch_for_nobody(request, decode_body(handoff, fields, taken, meeting))

    async def _fetch_for_nobody(self, request: LegRequest, decode: bytes) -> None:
        with suppress(LegFailed, LegRefused):
            attempt = Attempt(request.decode, request.path, sent_headers(request.headers))
            await self._post.answer(attempt, releasing_body(request.api, decode), lambda: True, 5.0)

    def _start(self, run: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        task = asyncio.get_running_loop().create_task(run)
        self._tasks.add(task)
        task.add_done_callback(self._over)
        return task

    def _over(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # Whoever needs it has it; nobody is told of one that nobody waits for.


def _host(address: str) -> str:
    """Without port, and without the brackets of an IPv6 address."""
    return address.rpartition(":")[0].strip("[]")
