"""The fleet: nodes as rows, the pods on them, and the devices that claims hold.

One mutable state serves the live scheduler, simulations and explanations. Whoever tries something out takes a `mark`
first and goes back to it with `undo`: every change is written in a journal as its inverse. What remembers answers about
the fleet (`Options`) reads the log of changes to know which rows to look at again; an undo is a change like any other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from fairlead.kube.objects.devices import AllocationResult, ResourceClaim
from fairlead.scheduling.allocations import gives_same
from fairlead.scheduling.fleet.device_book import DeviceBook, Offer, Refusal, Wants
from fairlead.scheduling.snapshot import Amounts, HostPort, NodeView, PodView, Shape

_LOG_LIMIT: Final = 200_000
"""Changes kept; whoever has not read for longer starts anew."""

ClaimKey = tuple[str, str]
"""Namespace and name."""


@dataclass(slots=True)
class ClaimState:
    """A claim as far as is known: the API's word, and what was decided and is not written yet."""

    claim: ResourceClaim
    allocation: AllocationResult | None = None
    is_written: bool = False
    """Whether the API shows the allocation."""
    giver: str = ""
    """Uid of the pod with which it got its devices, while they are being written: whatever becomes of the pod, they are
    not anybody else's until it is known how that ended."""

    @property
    def uid(self) -> str:
        return self.claim.metadata.uid


@dataclass(frozen=True, slots=True)
class Standing:
    """A pod on a row."""

    pod: PodView
    row: int
    taken: tuple[ClaimKey, ...] = ()
    """Claims that got their devices with it."""


@dataclass(frozen=True, slots=True)
class Change:
    """`row` is different; -1 for all rows. With a shape, because a pod of it came (1) or went (-1)."""

    row: int
    shape: Shape | None = None
    delta: int = 0


class Log:
    """Changes by number. Readers keep the number up to which they have read."""

    def __init__(self) -> None:
        self._changes: list[Change] = []
        self._start = 0

    @property
    def end(self) -> int:
        return self._start + len(self._changes)

    def append(self, change: Change) -> None:
        self._changes.append(change)
        if len(self._changes) > _LOG_LIMIT:
            cut = _LOG_LIMIT // 2
            del self._changes[:cut]
            self._start += cut

    def since(self, number: int) -> list[Change] | None:
        """The changes from `number` on; None where some are forgotten."""
        if number < self._start:
            return None
        return self._changes[number - self._start :]


class Fleet:
    """Rows stay with their node as long as it exists; `nodes[row]` is None for a row without one."""

    def __init__(self, devices: DeviceBook) -> None:
        self.devices = devices
        self.nodes: list[NodeView | None] = []
        self.row_of: dict[str, int] = {}
        self.used: list[dict[str, int]] = []
        """By row: what pods take."""
        self.host_ports: list[Counter[HostPort]] = []
        self.on: list[dict[str, Standing]] = []
        """By row: pods by uid."""
        self.pods: dict[str, Standing] = {}
        self.claims: dict[ClaimKey, ClaimState] = {}
        self.users: dict[ClaimKey, set[str]] = {}
        """By claim, known or not: uids of the pods that stand on a row and use it."""
        self.log = Log()
        self.shared_version = 0
        """Rises whenever a claim gets or loses devices that pods of several shapes may share."""
        self._free_rows: list[int] = []
        self._journal: list[Callable[[], None]] = []
        self._marks: list[int] = []  # how long the journal was at each mark that is not used up

    # Facts: what the API says. Not undone.

    def set_node(self, node: NodeView) -> int:
        """A node is there, or is different. Returns its row."""
        row = self.row_of.get(node.name)
        if row is None:
            row = self._new_row()
            self.row_of[node.name] = row
        self.nodes[row] = node
        self.devices.set_node(node.name, node.labels)
        self.log.append(Change(row))
        return row

    def remove_node(self, name: str) -> None:
        """A node is gone. Pods that stand there stay known until they are removed themselves."""
        row = self.row_of.pop(name, None)
        if row is None:
            return
        self.nodes[row] = None
        self.devices.remove_node(name)
        self.log.append(Change(row))
        if not self.on[row]:
            self._free_rows.append(row)

    def set_claim(self, claim: ResourceClaim) -> None:
        """A claim is there, or is different. What was decided for it and the API does not show yet stays."""
        key = (claim.metadata.namespace, claim.metadata.name)
        state = self.claims.get(key)
        if state is not None and state.uid != claim.metadata.uid:
            self.remove_claim(key)
            state = None
        if state is None:
            state = self.claims[key] = ClaimState(claim)
        state.claim = claim
        shown = claim.status.allocation
        if shown is not None:
            if state.allocation is None or not gives_same(state.allocation, shown):
                self._set_allocation(state, shown)
            state.is_written = True
        elif state.is_written:
            self._set_allocation(state, None)
            state.is_written = False

    def remove_claim(self, key: ClaimKey) -> None:
        state = self.claims.pop(key, None)
        if state is not None and state.allocation is not None:
            self._set_allocation(state, None)

    def forget_decided(self, keys: Iterable[ClaimKey]) -> None:
        """What was decided for these claims is not written, or not known to be."""
        for key in keys:
            state = self.claims.get(key)
            if state is not None and not (state.is_written or state.giver) and state.allocation is not None:
                self._set_allocation(state, None)

    # Pods: facts and trials alike; undone by `undo`.

    def put(self, pod: PodView, row: int, taken: tuple[ClaimKey, ...] = ()) -> None:
        """A pod stands on a row (bound, assumed, or on trial). One that stands elsewhere moves."""
        known = self.pods.get(pod.uid)
        if known is not None:
            if known.row == row and known.pod.shape is pod.shape and known.pod.claims == pod.claims:
                # The same place in other words: how far it is, whether it is leaving.
                self.pods[pod.uid] = self.on[row][pod.uid] = Standing(pod, row, known.taken or taken)
                return
            self.lift(pod.uid)
        self._stand(Standing(pod, row, taken))
        self._note(lambda: self._leave(pod.uid))

    def lift(self, uid: str, *, frees_claims: bool = False) -> PodView | None:
        """A pod is no longer there. With `frees_claims`, neither are the devices of claims that nobody else uses: a
        trial's way to see what its leaving would free, as the claim controller frees them later."""
        standing = self._leave(uid)
        if standing is None:
            return None
        self._note(lambda: self._stand(standing))
        if frees_claims:
            for key in ((standing.pod.namespace, name) for name in standing.pod.claims):
                state = self.claims.get(key)
                if state is not None and not self.users.get(key) and state.allocation is not None:
                    self._give_up(state, state.allocation)
        return standing.pod

    def wants(self, shape: Shape) -> Wants | None:
        """What devices a pod of the shape lacks now; None for none. Changes with the state of shared claims."""
        lacking = [self.claims[key].claim for key in shape.shared_claims if self.is_lacking(key)]
        if not shape.own_claims and not lacking:
            return None
        return self.devices.wants((*shape.own_claims, *lacking))

    def is_lacking(self, key: ClaimKey) -> bool:
        """Whether a claim is there and has no devices."""
        state = self.claims.get(key)
        return state is not None and state.allocation is None

    def offer(self, shape: Shape, row: int) -> Offer | Refusal | None:
        """The devices that a pod of the shape would get on a row; None where it needs none."""
        wants = self.wants(shape)
        node = self.nodes[row]
        return None if wants is None or node is None else self.devices.offer(wants, node.name)

    def place(self, pod: PodView, row: int) -> Mapping[str, AllocationResult]:
        """Puts a pod on a row with the devices that it is offered there. Claim name -> what it gets.

        Raises LookupError where it is offered none: ask `Options` first.
        """
        wants, node = self.wants(pod.shape), self.nodes[row]
        if node is None:
            raise LookupError(f"there is no node in row {row}")
        if wants is None:
            self.put(pod, row)
            return {}
        offer = self.devices.offer(wants, node.name)
        if isinstance(offer, Refusal):
            raise LookupError(f"pod {pod.full_name} on node {node.name}: {offer}")
        own = [(pod.namespace, name) for name in pod.own_claims]
        keys = [*own, *(key for key in pod.shape.shared_claims if self.is_lacking(key))]
        states = [self.claims[key] for key in keys]
        made = self.devices.take(wants, node.name, offer, [state.claim for state in states])
        for state in states:
            self._gave(state, made[state.uid])
        self.put(pod, row, tuple(keys))
        return {state.claim.metadata.name: made[state.uid] for state in states}

    def place_together(self, pods: Sequence[PodView], row: int) -> None:
        """Puts pods on a row with devices that are chosen for all of them at once: what one could take from another
        goes to the one that needs it. Raises LookupError where there are none, as `place` does."""
        node = self.nodes[row]
        if node is None:
            raise LookupError(f"there is no node in row {row}")
        shared = dict.fromkeys(key for pod in pods for key in pod.shape.shared_claims if self.is_lacking(key))
        objects = [
            *(claim for pod in pods for claim in pod.shape.own_claims),
            *(self.claims[key].claim for key in shared),
        ]
        taken = {pod.uid: tuple((pod.namespace, name) for name in pod.own_claims) for pod in pods}
        if objects:
            wants = self.devices.wants(objects)
            offer = self.devices.offer(wants, node.name)
            if isinstance(offer, Refusal):
                raise LookupError(f"pods {', '.join(pod.full_name for pod in pods)} on node {node.name}: {offer}")
            states = [self.claims[key] for key in (*(key for keys in taken.values() for key in keys), *shared)]
            made = self.devices.take(wants, node.name, offer, [state.claim for state in states])
            for state in states:
                self._gave(state, made[state.uid])
        for pod in pods:
            mine = tuple(key for key in pod.shape.shared_claims if key in shared)
            for key in mine:
                del shared[key]
            self.put(pod, row, (*taken[pod.uid], *mine))

    def take_back(self, uid: str) -> PodView | None:
        """A pod is no longer there, nor are the devices that claims got with it, unless others use them."""
        standing = self.pods.get(uid)
        if standing is None:
            return None
        self.lift(uid)
        for key in standing.taken:
            state = self.claims.get(key)
            if state is not None and state.allocation is not None and not self.users.get(key):
                self._give_up(state, state.allocation)
        return standing.pod

    def free(self, row: int, resource: str) -> int:
        node = self.nodes[row]
        return 0 if node is None else node.allocatable.get(resource, 0) - self.used[row].get(resource, 0)

    # Trials

    def mark(self) -> int:
        """A point to go back to."""
        self._marks.append(len(self._journal))
        return len(self._marks) - 1

    def undo(self, mark: int) -> None:
        """Back to `mark`, which is used up, as are those made after it."""
        length = self._marks[mark]
        while len(self._journal) > length:
            self._journal.pop()()
        self.keep(mark)

    def keep(self, mark: int) -> None:
        """Nothing since `mark` is to be undone, unless an earlier mark is gone back to. It is used up, as are later
        ones."""
        del self._marks[mark:]
        if not self._marks:
            self._journal.clear()

    @contextmanager
    def trial(self) -> Iterator[None]:
        """Whatever is changed inside is undone at the end."""
        mark = self.mark()
        try:
            yield
        finally:
            self.undo(mark)

    def changes(self) -> None:
        """Writes into the log what the devices have changed. Called by readers of the log, before they read."""
        changed = self.devices.take_changed()
        if changed is None:
            self.log.append(Change(-1))
            return
        for name in changed:
            row = self.row_of.get(name)
            if row is not None:
                self.log.append(Change(row))

    def _gave(self, state: ClaimState, allocation: AllocationResult) -> None:
        """A claim got devices, which the book holds already."""
        state.allocation = allocation
        self.shared_version += 1
        self._note(lambda: self._set_allocation(state, None))

    def _give_up(self, state: ClaimState, held: AllocationResult) -> None:
        """A claim has devices no longer, on trial."""
        self._set_allocation(state, None)
        self._note(lambda: self._set_allocation(state, held))

    def _set_allocation(self, state: ClaimState, allocation: AllocationResult | None) -> None:
        if state.allocation is not None:
            self.devices.release(state.uid)
        if allocation is not None:
            self.devices.hold(state.uid, allocation)
        state.allocation = allocation
        self.shared_version += 1

    def _stand(self, standing: Standing) -> None:
        pod, row = standing.pod, standing.row
        self.pods[pod.uid] = standing
        self.on[row][pod.uid] = standing
        _count(self.used[row], pod.shape.requests, 1)
        if pod.shape.host_ports:
            self.host_ports[row].update(pod.shape.host_ports)
        for name in pod.claims:
            self.users.setdefault((pod.namespace, name), set()).add(pod.uid)
        self.log.append(Change(row, pod.shape, 1))

    def _leave(self, uid: str) -> Standing | None:
        standing = self.pods.pop(uid, None)
        if standing is None:
            return None
        pod, row = standing.pod, standing.row
        del self.on[row][uid]
        _count(self.used[row], pod.shape.requests, -1)
        if pod.shape.host_ports:
            self.host_ports[row].subtract(pod.shape.host_ports)
        for name in pod.claims:
            users = self.users[pod.namespace, name]
            users.discard(uid)
            if not users:
                del self.users[pod.namespace, name]
        self.log.append(Change(row, pod.shape, -1))
        # On trial the pod may come back to the row.
        if self.nodes[row] is None and not self.on[row] and not self._marks:
            self._free_rows.append(row)
        return standing

    def _note(self, inverse: Callable[[], object]) -> None:
        if self._marks:
            self._journal.append(inverse)  # type: ignore[arg-type]

    def _new_row(self) -> int:
        if self._free_rows:
            return self._free_rows.pop()
        self.nodes.append(None)
        self.used.append({})
        self.host_ports.append(Counter())
        self.on.append({})
        return len(self.nodes) - 1


def _count(into: dict[str, int], amounts: Amounts, sign: int) -> None:
    for name, amount in amounts.items():
        into[name] = into.get(name, 0) + sign * amount
