"""Whether two claims hold the same device, and which of them had it first.

The order in which the watch shows allocations is the order in which the API server stored them: everybody who watches
sees the same. Devices in shares and devices held with admin access may have several holders and are not looked at here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from fairlead.kube.informer import Handler, Informer
from fairlead.kube.objects.devices import ResourceClaim
from fairlead.scheduling.allocations import results_of
from fairlead.scheduling.commit.claim_writer import ClaimRef

DeviceKey = tuple[str, str, str]
"""Driver, pool and name."""


@dataclass(slots=True)
class _Holding:
    """A claim's devices, as the watch showed them first."""

    claim: ResourceClaim
    devices: frozenset[DeviceKey]
    place: int
    """In the order of allocations."""
    is_exact: bool
    """Whether `place` is known: after a gap in the watch, allocations are shown in no order."""


class Contention:
    """Follows all claims; says of one of ours whether it was the later one."""

    def __init__(self, claims: Informer[ResourceClaim]) -> None:
        self._claims = claims
        self._holdings: dict[str, _Holding] = {}
        self._holders: dict[DeviceKey, set[str]] = {}
        self._count = 0
        self._lists = claims.relists
        self._is_after_gap = False
        claims.add_handler(Handler(self._seen, lambda _, new: self._seen(new), self._gone))

    def older_holder(self, claim: ResourceClaim) -> str | None:
        """What to say of a claim that held a device of this one before it; None where there is none."""
        mine = self._holdings.get(claim.metadata.uid)
        if mine is None:
            return None
        for device in sorted(mine.devices):
            for uid in self._holders[device] - {claim.metadata.uid}:
                other = self._holdings[uid]
                if other.place < mine.place or not (other.is_exact and mine.is_exact):
                    name = ClaimRef(other.claim.metadata.namespace, other.claim.metadata.name, uid)
                    return f"device {'/'.join(device)} is held by {name} already"
        return None

    def _seen(self, claim: ResourceClaim) -> None:
        self._note_gap()
        uid = claim.metadata.uid
        devices = frozenset(_exclusive(claim))
        known = self._holdings.get(uid)
        if known is None or known.devices != devices:
            self._drop(uid)
            if devices:
                self._count += 1
                self._holdings[uid] = _Holding(claim, devices, self._count, not self._is_after_gap)
                for device in devices:
                    self._holders.setdefault(device, set()).add(uid)

    def _gone(self, claim: ResourceClaim) -> None:
        self._drop(claim.metadata.uid)

    def _drop(self, uid: str) -> None:
        known = self._holdings.pop(uid, None)
        for device in known.devices if known is not None else ():
            self._holders[device].discard(uid)
            if not self._holders[device]:
                del self._holders[device]

    def _note_gap(self) -> None:
        """A list, which tells everything at once, comes when a watch could not be resumed."""
        if self._claims.relists == self._lists:
            return
        self._lists = self._claims.relists
        self._is_after_gap = True

        def end() -> None:
            self._is_after_gap = False

        asyncio.get_running_loop().call_soon(end)


def _exclusive(claim: ResourceClaim) -> Iterable[DeviceKey]:
    for result in results_of(claim.status.allocation):
        if not result.admin_access and not result.share_id:
            yield result.driver, result.pool, result.device
