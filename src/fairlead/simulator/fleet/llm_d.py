"""The default routing of llm-d's endpoint picker, rebuilt as the yardstick of our own.

Reference: llm-d-router v0.10 (2026-08), `config/charts/routerlib/templates/_config.yaml` (plugins and weights),
`plugins/scheduling/scorer/{queuedepth,kvcacheutilization,prefix}`, `plugins/scheduling/picker/maxscore`,
`plugins/requestcontrol/dataproducer/{approximateprefix,prefixhash}`. What is rebuilt:

- score = 2 × queue + 2 × KV + 3 × prefix; the highest wins, among equals one at random.
- queue = (longest − own) / (longest − shortest), of requests waiting in the engines; all equal: 1 for everybody.
- KV = 1 − share of the KV cache in use.
- prefix = blocks found / blocks of the prompt. Blocks have 64 tokens (the engine's size, raised to at least 64), the
  last one may be partial. The prompt is followed while any endpoint has the block; each counts every block it has, also
  behind one it lacks.
- The index is an LRU of block hashes per endpoint, with as many entries as the engine has KV blocks (31,250 while it
  has not said). A block of the index is larger than one of the engine, so it remembers more than the engine keeps.
  Prompts are entered when they are sent; a look-up refreshes nothing.
- Queue and KV are what the last scrape said, every 50 ms. Nothing counts what was sent since: the default profile has
  no in-flight producer.

Not rebuilt: flow control (off by default), shedding by priority, and the estimate of tokens from bytes, which this one
is given exactly.
"""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Sequence

from fairlead.engines import EngineSignals
from fairlead.gateway.pick import NoPick
from fairlead.simulator.fleet.asked import BLOCK_TOKENS, Asked
from fairlead.simulator.fleet.policy import Decision, End, Seen

SCRAPE_INTERVAL_S = 0.05
DEFAULT_CAPACITY = 31_250
MAX_PREFIX_TOKENS = 131_072
QUEUE_WEIGHT, KV_WEIGHT, PREFIX_WEIGHT = 2.0, 2.0, 3.0

_UNSAID = EngineSignals(running_requests=0, waiting_requests=0, kv_cache_usage_ratio=0.0)


class LlmD:
    """The policy."""

    watches = True

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._signals: dict[str, EngineSignals] = {}
        self._index = ApproximateIndex()

    def pick(self, now_s: float, asked: Asked | None, seen: Sequence[Seen]) -> Decision | NoPick:
        assert asked is not None
        if not seen:
            return NoPick("no_ready_endpoints", "no replica is ready")
        addresses = [replica.address for replica in seen]
        hashes = block_hashes(asked)
        found = self._index.match(hashes)
        signals = [self._signals.get(address, _UNSAID) for address in addresses]
        queues = [s.waiting_requests or 0 for s in signals]
        longest, spread = max(queues), max(queues) - min(queues)
        scores = [
            QUEUE_WEIGHT * ((longest - queue) / spread if spread else 1.0)
            + KV_WEIGHT * (1.0 - (s.kv_cache_usage_ratio or 0.0))
            + PREFIX_WEIGHT * (found.get(address, 0) / len(hashes) if hashes else 0.0)
            for address, queue, s in zip(addresses, queues, signals, strict=True)
        ]
        best = max(scores)
        address = self._rng.choice([a for a, score in zip(addresses, scores, strict=True) if score == best])
        self._index.add(address, hashes, _blocks_of(self._signals.get(address)))
        return Decision(address)

    def reported(self, address: str, signals: EngineSignals, at_s: float) -> float:
        self._signals[address] = signals
        return SCRAPE_INTERVAL_S

    def ended(self, pick_id: str, end: End | None) -> None:
        """It counts nothing that it sends."""

    def gone(self, address: str) -> None:
        self._signals.pop(address, None)
        self._index.remove(address)


def block_hashes(asked: Asked) -> list[int]:
    """The blocks of a prompt; a partial last one is nobody else's."""
    hashes: list[int] = asked.blocks.hashes[: MAX_PREFIX_TOKENS // BLOCK_TOKENS].tolist()
    if asked.prompt_tokens % BLOCK_TOKENS and len(hashes) < MAX_PREFIX_TOKENS // BLOCK_TOKENS:
        hashes.append(-1 - asked.number)
    return hashes


def _blocks_of(signals: EngineSignals | None) -> int:
    if signals is None or not signals.kv_cache_capacity_tokens or not signals.kv_block_tokens:
        return DEFAULT_CAPACITY
    return signals.kv_cache_capacity_tokens // signals.kv_block_tokens


class ApproximateIndex:
    """Which endpoint was sent which block, the last ones of each."""

    def __init__(self) -> None:
        self._holders: dict[int, set[str]] = {}  # hash -> addresses
        self._recent: dict[str, OrderedDict[int, None]] = {}  # address -> hashes, least recently sent first
        self._capacity: dict[str, int] = {}

    def match(self, hashes: Sequence[int]) -> dict[str, int]:
        """Address -> blocks it has, up to the first one that nobody has."""
        found: dict[str, int] = {}
        for number in hashes:
            holders = self._holders.get(number)
            if not holders:
                break
            for address in holders:
                found[address] = found.get(address, 0) + 1
        return found

    def add(self, address: str, hashes: Sequence[int], capacity: int) -> None:
        """The prompt is sent there. `capacity` counts at the first one only."""
        recent = self._recent.get(address)
        if recent is None:
            recent = self._recent[address] = OrderedDict()
            self._capacity[address] = capacity
        room = self._capacity[address]
        for number in hashes:
            if number in recent:
                recent.move_to_end(number)
                continue
            if len(recent) >= room:
                self._drop(address, recent.popitem(last=False)[0])
            recent[number] = None
            self._holders.setdefault(number, set()).add(address)

    def remove(self, address: str) -> None:
        """The endpoint exists no more."""
        for number in self._recent.pop(address, {}):
            self._drop(address, number)
        self._capacity.pop(address, None)

    def _drop(self, address: str, number: int) -> None:
        holders = self._holders[number]
        holders.discard(address)
        if not holders:
            del self._holders[number]
