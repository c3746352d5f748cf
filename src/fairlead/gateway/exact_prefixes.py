"""Pools that ask for precise prefixes: their engines' cache events are followed, their requests' prompts tokenised.

Which tokens a prompt has is known at once when the client sent tokens. A completion's text is tokenised here once the
engine has confirmed the model's tokenizer; a conversation is sent to an engine that says its tokens, at the price of a
call before the pick. What cannot be tokenised in time is matched by its text, as in every other pool.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import msgspec

from fairlead.gateway.endpoints import Pool
from fairlead.gateway.plan import Plans, PoolPlan
from fairlead.gateway.prefix.blocks import TokenizedPrompt, space_of, text_blocks, token_array
from fairlead.gateway.prefix.event_sources import EventSource, EventSourceError, ask_source
from fairlead.gateway.prefix.events import KvEventSubscriber
from fairlead.gateway.prefix.http_events import HttpEventPoller
from fairlead.gateway.prefix.text_tokenizer import TokenizerError
from fairlead.gateway.prefix.tokens import EngineTokens, ExactTokens, PromptTokens, Tokenization, estimate
from fairlead.gateway.requests import Api

if TYPE_CHECKING:
    from fairlead.gateway.asked import Asked
    from fairlead.gateway.prefix.combined import CombinedIndex

EVENTS_LABEL = "fairlead.dev/kv-events-port"
REPLAY_LABEL = "fairlead.dev/kv-events-replay-port"
"""On a pod: where its engine publishes cache events and gives them again, when that is not as configured."""

_POLLED_RUNTIMES = frozenset(("tensorrt-llm",))
"""Their engines answer questions for events and publish none."""

_ASK_AGAIN_S = 1.0

_log = logging.getLogger(__name__)


class Tokenizing:
    """A request whose prompt is being tokenised."""

    __slots__ = ("task",)

    def __init__(self, task: asyncio.Task[None]) -> None:
        self.task = task

    def abandon(self) -> None:
        """The client has gone."""
        self.task.cancel()


class ExactPrefixes:
    """One for a picker; belongs to the running event loop."""

    def __init__(self, plans: Plans, index: CombinedIndex) -> None:
        self._plans = plans
        self._subscriber = KvEventSubscriber(index)
        self._session = aiohttp.ClientSession()
        self._engine = EngineTokens(self._session)
        self._tokenization = Tokenization()
        self._poller = HttpEventPoller(self._session, index)
        self._found: dict[str, asyncio.Task[None]] = {}  # address -> the question where its events are
        self._listening: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loaded: dict[str, str] = {}  # model -> path of its tokenizer
        plans.on_replan.append(lambda key: self._replanned())
        self._replanned()

    @property
    def followed(self) -> list[str]:
        """Endpoints whose cache events are read."""
        return [*self._subscriber.followed, *self._poller.followed]

    async def close(self) -> None:
        """Close everything."""
        for task in self._tasks:
            task.cancel()
        self._subscriber.close()
        await self._poller.close()
        self._tokenization.close()
        await self._session.close()

    def begin(self, asked: Asked, go: Callable[[], None]) -> Tokenizing | None:
        """See to the prompt's tokens, then call `go`: at once (None is returned), or when they have come."""
        request, plan = asked.request, asked.plan
        if request.token_ids is not None:
            # Those that no engine has are for the engine to refuse.
            with contextlib.suppress(OverflowError):
                self._take(asked, ExactTokens(token_array(request.token_ids), "client"))
        elif request.api is Api.COMPLETIONS and self._tokenization.is_exact(_tokenizer_of(plan.pool)):
            return self._start(asked, self._text(asked), go)
        elif request.api is Api.CHAT and plan.settings.asks_engines_for_tokens and plan.answering:
            return self._start(asked, self._chat(asked), go)
        go()
        return None

    def _start(self, asked: Asked, work: Coroutine[Any, Any, PromptTokens], go: Callable[[], None]) -> Tokenizing:
        async def run() -> None:
            try:
                self._take(asked, await work)
            except Exception:
                # The text of the prompt is there still: a request is never lost to its tokens.
                _log.exception("the prompt of a request to %s was not tokenised", asked.request.model)
            go()

        return Tokenizing(self._spawn(run()))

    async def _text(self, asked: Asked) -> PromptTokens:
        text = msgspec.json.decode(asked.request.prompt)
        if not isinstance(text, str):
            return estimate(len(asked.request.prompt), "the prompt is not one text")
        return await self._tokenization.text(_tokenizer_of(asked.plan.pool), text)

    async def _chat(self, asked: Asked) -> PromptTokens:
        body = {**msgspec.json.decode(asked.body), "model": asked.query.model}
        reachable = [a for a in asked.plan.answering if asked.director.is_reachable(a)] or asked.plan.answering
        address = reachable[hash(asked.head.received_s) % len(reachable)]
        return await self._engine.chat(address, body, len(asked.request.prompt))

    def _take(self, asked: Asked, tokens: PromptTokens) -> None:
        if not isinstance(tokens, ExactTokens):
            return
        request, query = asked.request, asked.query
        text = asked.blocks or text_blocks(request.prompt, space_of(query.model, request.salt))
        asked.blocks = TokenizedPrompt(
            text.hashes, text.block_tokens, text.space, tokens.token_ids, space_of(query.adapter, request.salt)
        )
        query.prompt_tokens = tokens.count

    # Which engines and tokenizers

    def _replanned(self) -> None:
        plans = [plan for plan in self._plans.all() if plan.settings.precise_prefix is not None]
        wanted = {address: plan for plan in plans for address in plan.pool.addresses}
        polled = {a: p for a, p in wanted.items() if _runtime(p, a) in _POLLED_RUNTIMES}
        self._poller.follow_all(polled)
        for address in [a for a in self._found if a not in wanted]:
            self._found.pop(address).cancel()
            self._subscriber.unfollow(address)
        for address, plan in wanted.items():
            if address not in self._found and address not in polled:
                self._found[address] = self._spawn(self._follow(address, plan))
        for plan in plans:
            self._listen(plan)
            self._load(plan.pool)

    async def _follow(self, address: str, plan: PoolPlan) -> None:
        """Ask the engine where it publishes; one that does not say is taken to do it where the configuration says."""
        while True:
            try:
                source = await ask_source(self._session, address)
                break
            except EventSourceError as error:
                _log.warning("%s", error)
                source = None
                break
            except OSError:
                # It is about to start, or about to leave the pool.
                await asyncio.sleep(_ASK_AGAIN_S)
        endpoint, replay, ranks = source or _source(plan, address)
        try:
            self._subscriber.follow(address, endpoint, replay, ranks)
        except ValueError as error:
            _log.warning("%s", error)

    def _listen(self, plan: PoolPlan) -> None:
        """Where engines are to connect to the gateway, as a configuration may have it."""
        precise = plan.settings.precise_prefix
        endpoint = precise.kv_events_config.zmq_endpoint if precise is not None else ""
        if endpoint and endpoint not in self._listening:
            self._listening.add(endpoint)
            try:
                self._subscriber.listen(endpoint)
            except OSError as error:
                _log.warning("%s", error)

    def _load(self, pool: Pool) -> None:
        if not _tokenizer_of(pool) or not pool.addresses:
            return
        model = _tokenizer_of(pool)
        if self._loaded.get(model) != pool.tokenizer:
            self._loaded[model] = pool.tokenizer
            self._spawn(self._confirmed(model, Path(pool.tokenizer), pool.addresses[0]))

    async def _confirmed(self, model: str, path: Path, address: str) -> None:
        try:
            await self._tokenization.load(model, path)
            if not await self._tokenization.confirm(model, self._engine, address):
                _log.warning("the tokenizer %s makes other tokens than the engine of %s: estimates it is", path, model)
                self._loaded.pop(model, None)
        except TokenizerError as error:
            _log.warning("tokenizer of %s: %s", model, error)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _tokenizer_of(pool: Pool) -> str:
    """Under which model the tokenizer of a pool is kept, whatever it is called in requests; empty = it has none."""
    return pool.models[0] if pool.tokenizer and pool.models else ""


def _runtime(plan: PoolPlan, address: str) -> str:
    return plan.by_address[address].runtime or plan.pool.runtime


def _source(plan: PoolPlan, address: str) -> EventSource:
    """Where an engine publishes that does not say so."""
    assert plan.settings.precise_prefix is not None
    ports = plan.settings.precise_prefix.kv_events_config.pod_discovery_config
    labels = plan.by_address[address].labels
    host = address.rpartition(":")[0]
    said, replay = (labels.get(name, "") for name in (EVENTS_LABEL, REPLAY_LABEL))
    port = int(said) if said.isdigit() else ports.socket_port
    replay_port = int(replay) if replay.isdigit() else ports.replay_socket_port
    return EventSource(f"tcp://{host}:{port}", f"tcp://{host}:{replay_port}" if replay_port else None, 1)
