"""All of a picker's peers: found, called, listened to and told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping, Sequence

from fairlead.clock import SYSTEM, Clock
from fairlead.gateway.load import LoadTable
from fairlead.gateway.peers.discovery import Discovery
from fairlead.gateway.peers.inbox import Inbox
from fairlead.gateway.peers.link import Link, LinkState, Shared
from fairlead.gateway.peers.listener import Listener
from fairlead.gateway.peers.messages import VERSION, Hello
from fairlead.gateway.peers.outbox import Outbox, SharedPrefixes
from fairlead.gateway.prefix.index import PrefixIndex
from fairlead.gateway.prefix.snapshot import SnapshotError, restore
from fairlead.gateway.prefix.tree import PrefixTree
from fairlead.gateway.route import Completion

MAX_LINKS = 64

_log = logging.getLogger(__name__)


class Peers:
    """Keeps the load table and the prefix index of several active pickers in step.

    `prefixes` is the index to give to this picker's `EndpointPicker`.
    """

    def __init__(
        self,
        loads: LoadTable,
        index: PrefixIndex,
        completed: Callable[[Completion], None],
        *,
        tree: PrefixTree | None = None,
        busy: Callable[[str], None] | None = None,
        group: str = "fairlead",
        clock: Clock = SYSTEM,
    ) -> None:
        """`completed` gets ends of this picker's own requests that were reported to another one. `tree` is the part of
        `index` that a starting picker copies. `busy` is told of endpoints that a peer has requests at; give it
        `Scraper.picked`, which wakes those that are asked rarely. Pickers of different `group`s leave each other alone.
        """
        self._loads = loads
        self._tree = tree
        self._completed = completed
        self._clock = clock
        self._outbox = Outbox(loads)
        self.prefixes = SharedPrefixes(index, self._outbox)
        hello = Hello(VERSION, group, loads.replica)
        self._links: dict[str, tuple[Link, asyncio.Task[None]]] = {}  # place -> its link
        self._shared = Shared(hello, Inbox(loads, index, busy), None, {})
        self._listener = Listener(hello, self._outbox, tree, self._take_ends, clock)
        self.lost_ends = 0
        """Ends of other pickers' requests that could not be handed over: they find out by the engines' counts."""

    async def start(self, place: str) -> str:
        """Listen for peers at `unix:/path` or `host:port` (0 = any free port); returns where. Raises OSError."""
        return await self._listener.start(place)

    async def run(self, discovery: Discovery) -> None:
        """Find, call and tell peers until cancelled. An empty index is copied from the first of them."""
        if self._tree is not None and self._tree.tick == 0:
            self._shared.restore = self._restore
        tasks = [asyncio.create_task(self._listener.run()), asyncio.create_task(discovery.run(self._found))]
        try:
            await asyncio.gather(*tasks)
        finally:
            tasks += [task for _, task in self._links.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._listener.close()

    @property
    def replicas(self) -> Sequence[str]:
        """The pickers that are listened to now."""
        return sorted(self._shared.by_replica)

    @property
    def places(self) -> Mapping[str, LinkState]:
        """What is known of each place where a picker may be."""
        return {place: link.state for place, (link, _) in self._links.items()}

    def is_foreign(self, pick_id: str) -> bool:
        """Whether another picker has made this pick."""
        return pick_id.rpartition("-")[0] != self._loads.replica

    def forward(self, completion: Completion) -> bool:
        """Hand the end of another picker's request over to it; False where that picker is not there."""
        link = self._shared.by_replica.get(completion.pick_id.rpartition("-")[0])
        if link is not None and link.hand_over(completion):
            return True
        self.lost_ends += 1
        return False

    def _take_ends(self, completions: Sequence[Completion]) -> None:
        for completion in completions:
            if not self.is_foreign(completion.pick_id):
                self._completed(completion)

    def _found(self, places: Collection[str]) -> None:
        wanted = dict.fromkeys(list(places)[:MAX_LINKS])
        for place in [place for place in self._links if place not in wanted]:
            self._links.pop(place)[1].cancel()
        for place in wanted:
            if place not in self._links:
                link = Link(place, self._shared, self._clock)
                self._links[place] = link, asyncio.create_task(link.run(), name=f"peer {place}")

    def _restore(self, data: bytes) -> None:
        if self._tree is None:
            return
        try:
            count = restore(self._tree, data)
        except SnapshotError as error:
            _log.warning("the prefix index of a peer is of no use: %s", error)
        else:
            _log.info("took over %d prompts from a peer", count)
