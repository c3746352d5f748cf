"""Made workloads: arrivals, lengths, shared prefixes, conversations and adapters, from one seeded generator.

What a request shares with others is in its `hash_ids`, so a made workload can be written as a trace and read again.
Memory grows with the number of conversations that are open at a time, not with the number of requests.
"""

from __future__ import annotations

import heapq
import random
from bisect import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate, count, islice
from pathlib import Path
from typing import Annotated

import msgspec

from fairlead.workload.arrivals import Arrivals, PositiveFloat
from fairlead.workload.lengths import Lengths, LogNormal
from fairlead.workload.read import TraceFile
from fairlead.workload.request import PositiveInt, Seconds, Slo, TraceRequest


class Prefixes(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One level of shared beginnings: `count` texts of these lengths, drawn with Zipf's weights 1/rank^zipf (0: even).

    A second level below the first has `count` texts under each text of the first, and so on: a tree.
    """

    count: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
    tokens: Lengths
    zipf: Annotated[float, msgspec.Meta(ge=0)] = 0.0


class Conversations(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Requests become first turns; each further prompt is all that was said before, and something new.

    A turn comes when its user has read the answer: `answer_token_s` for every token of it, and an exponential pause of
    mean `pause_s`.
    """

    turns: Lengths
    pause_s: Seconds = 20.0
    answer_token_s: Seconds = 0.03


class Adapters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """LoRA adapters `lora-0` …, drawn with Zipf's weights; `base_share` of the requests ask for the base model."""

    count: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
    zipf: Annotated[float, msgspec.Meta(ge=0)] = 1.0
    base_share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0


class Synthetic(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A made workload. `requests`, `duration_s` or the stages of the arrivals end it; the first one that does.

    `prompt_tokens` is what is new in a prompt: shared prefixes and former turns come on top. `lengths_from` draws
    prompt and answer together from the requests of a trace instead. Prompts are cut at `max_prompt_tokens` by ending a
    conversation there.
    """

    arrivals: Arrivals
    requests: PositiveInt | None = None
    duration_s: PositiveFloat | None = None
    prompt_tokens: Lengths = LogNormal(1024.0)
    output_tokens: Lengths = LogNormal(200.0)
    lengths_from: str | None = None
    prefixes: tuple[Prefixes, ...] = ()
    conversations: Conversations | None = None
    adapters: Adapters | None = None
    slo: Slo | None = None
    max_prompt_tokens: PositiveInt = 100_000
    block_tokens: PositiveInt = 16

    def __post_init__(self) -> None:
        if self.requests is None and self.duration_s is None and not self.arrivals.stages:
            raise ValueError("the workload has no end: give requests, duration_s or stages of arrivals")


def generate(config: Synthetic, rng: random.Random) -> Iterator[TraceRequest]:
    """The requests of a made workload in order of time. Raises TraceError for a trace of lengths that is none."""
    return _Generator(config, rng).requests()


class Zipf:
    """Draws ranks 0 … count-1 with weights 1/(rank+1)^exponent."""

    def __init__(self, number: int, exponent: float) -> None:
        self._sums = list(accumulate((rank + 1) ** -exponent for rank in range(number)))

    def draw(self, rng: random.Random) -> int:
        return min(bisect(self._sums, rng.random() * self._sums[-1]), len(self._sums) - 1)


@dataclass(slots=True)
class _Open:
    """A conversation: what was said so far, and the names of its blocks."""

    session: str
    turns_left: int
    said_tokens: int
    prefix: tuple[int, ...]
    own_ids: int
    adapter: str
    begun: bool = False


class _Generator:
    def __init__(self, config: Synthetic, rng: random.Random) -> None:
        self._config = config
        self._rng = rng
        self._levels = [(level, Zipf(level.count, level.zipf)) for level in config.prefixes]
        self._made: dict[tuple[int, ...], tuple[int, tuple[int, ...]]] = {}  # path in the tree -> tokens, block ids
        self._adapters = Zipf(config.adapters.count, config.adapters.zipf) if config.adapters else None
        self._pairs = _pairs(Path(config.lengths_from)) if config.lengths_from else None
        self._names = count(1)
        # Names of blocks that belong to nobody else; texts of the tree have the smaller numbers.
        self._ids = count(1 << 62, 1 << 20)
        self._prefix_ids = count(1 << 20, 1 << 20)

    def requests(self) -> Iterator[TraceRequest]:
        end_s = self._config.duration_s
        for request in islice(self._merged(), self._config.requests):
            if end_s is not None and request.time_s >= end_s:
                return
            yield request

    def _merged(self) -> Iterator[TraceRequest]:
        """First turns as they arrive and later turns as they come due."""
        due: list[tuple[float, int, _Open]] = []
        number = count()
        for time_s in self._config.arrivals.times(self._rng):
            while due and due[0][0] <= time_s:
                turn_s, _, conversation = heapq.heappop(due)
                yield from self._turn(turn_s, conversation, due, number)
            yield from self._turn(time_s, self._opened(), due, number)
        while due:
            turn_s, _, conversation = heapq.heappop(due)
            yield from self._turn(turn_s, conversation, due, number)

    def _opened(self) -> _Open:
        config, rng = self._config, self._rng
        tokens, ids = self._prefix()
        adapter = ""
        if self._adapters is not None and config.adapters is not None and rng.random() >= config.adapters.base_share:
            adapter = f"lora-{self._adapters.draw(rng)}"
        if config.conversations is None:
            return _Open("", 1, tokens, ids, 0, adapter)
        turns = config.conversations.turns.draw(rng)
        return _Open(f"s{next(self._names)}", turns, tokens, ids, next(self._ids), adapter)

    def _turn(
        self, time_s: float, conversation: _Open, due: list[tuple[float, int, _Open]], number: count[int]
    ) -> Iterator[TraceRequest]:
        config, rng = self._config, self._rng
        fresh_tokens, output_tokens = self._lengths_of_turn()
        prompt_tokens = conversation.said_tokens + fresh_tokens
        if prompt_tokens > config.max_prompt_tokens:
            if conversation.begun:
                return
            prompt_tokens = config.max_prompt_tokens
        conversation.begun = True
        said = prompt_tokens + output_tokens
        yield TraceRequest(
            time_s,
            prompt_tokens,
            output_tokens,
            adapter=conversation.adapter,
            session=conversation.session,
            hash_ids=self._ids_of(conversation, prompt_tokens, said),
            block_tokens=config.block_tokens,
            slo=config.slo,
        )
        conversation.turns_left -= 1
        conversation.said_tokens = said
        talk = config.conversations
        if talk is not None and conversation.turns_left > 0:
            pause_s = rng.expovariate(1 / talk.pause_s) if talk.pause_s else 0.0
            next_s = time_s + output_tokens * talk.answer_token_s + pause_s
            heapq.heappush(due, (next_s, next(number), conversation))

    def _ids_of(self, conversation: _Open, prompt_tokens: int, said_tokens: int) -> tuple[int, ...]:
        """The shared prefix, and in a conversation everything up to the end of the answer."""
        size, prefix, first = self._config.block_tokens, conversation.prefix, conversation.own_ids
        if len(prefix) * size > prompt_tokens:
            prefix = prefix[: prompt_tokens // size]
        return prefix + tuple(range(first + len(prefix), first + said_tokens // size)) if first else prefix

    def _lengths_of_turn(self) -> tuple[int, int]:
        if self._pairs is not None:
            return self._rng.choice(self._pairs)
        return self._config.prompt_tokens.draw(self._rng), self._config.output_tokens.draw(self._rng)

    def _prefix(self) -> tuple[int, tuple[int, ...]]:
        """Tokens and block ids of a path through the tree."""
        if not self._levels:
            return 0, ()
        path = tuple(zipf.draw(self._rng) for _, zipf in self._levels)
        made = self._made.get(path)
        if made is None:
            made = self._made[path] = self._make(path)
        return made

    def _make(self, path: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
        """A path: the text above it goes on with the text of its last step, whose blocks are this path's own."""
        if not path:
            return 0, ()
        above_tokens, above_ids = self._made.get(path[:-1]) or self._make(path[:-1])
        self._made[path[:-1]] = above_tokens, above_ids
        tokens = above_tokens + self._levels[len(path) - 1][0].tokens.draw(self._rng)
        blocks = tokens // self._config.block_tokens
        first = next(self._prefix_ids)
        return tokens, above_ids + tuple(range(first, first + blocks - len(above_ids)))


def _pairs(path: Path) -> list[tuple[int, int]]:
    pairs = [(request.prompt_tokens, request.output_tokens) for request in TraceFile(path, sort=True)]
    if not pairs:
        raise ValueError(f"lengths_from: the trace {path} has no requests")
    return pairs
