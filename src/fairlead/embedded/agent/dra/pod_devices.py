"""The devices of one pod over its life: prepared before its containers, given back after them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fairlead.clock import SYSTEM, Clock
from fairlead.embedded.agent.claims import require_claims, uses_claims
from fairlead.embedded.agent.dra.node_devices import NodeDevices
from fairlead.embedded.agent.dra.preparer import ReleaseError
from fairlead.embedded.agent.environment import Lookup
from fairlead.embedded.agent.pod import ContainerSpec, Pod

if TYPE_CHECKING:
    from fairlead.devices.cdi.spec import ContainerEdits

_FIRST_RETRY_S, _LAST_RETRY_S = 0.5, 30.0

Record = Callable[[str, str, str], None]
"""Send an Event about the pod: type, reason, message."""


class PodDevices:
    def __init__(
        self, node: NodeDevices, pod: Callable[[], Pod], lookup: Lookup, record: Record, clock: Clock = SYSTEM
    ) -> None:
        """`pod` gives the newest version of the pod."""
        self._node = node
        self._pod = pod
        self._lookup = lookup
        self._record = record
        self._clock = clock

    @property
    def are_held(self) -> bool:
        """Whether there may be something to give back."""
        return self._node.holds(self._pod())

    @property
    def are_lost(self) -> bool:
        """Whether the pod has claims of which this node does not know the devices."""
        return uses_claims(self._pod()) and not self._node.knows_devices(self._pod())

    def remembered(self) -> list[dict[str, Any]]:
        """The pod's claims in a form for its own files, from which a damaged record of the node is made again."""
        return self._node.remembered(self._pod())

    async def prepare(self) -> None:
        """Nothing for pods without claims. Raises ClaimsPending, PrepareError."""
        claims = await require_claims(self._pod(), self._lookup)
        if claims:
            await self._node.prepare(self._pod(), claims)

    async def edits(self, container: ContainerSpec) -> ContainerEdits | None:
        """What a container's devices change in it; None for none. Raises ClaimsPending, PrepareError, EditsError."""
        if not uses_claims(self._pod()):
            return None
        if not self._node.is_prepared(self._pod()):
            # Prepared by a former agent: since then the driver, or the whole machine, may have started anew.
            await self.prepare()
        return await self._node.edits(self._pod(), container)

    async def release(self) -> None:
        """Return once everything is given back, however often that takes."""
        delay_s, told = _FIRST_RETRY_S, ""
        while self.are_held:
            try:
                await self._node.release(self._pod())
            except ReleaseError as error:
                if str(error) != told:
                    told = str(error)
                    message = f"Failed to unprepare dynamic resources: {error}"
                    self._record("Warning", "FailedUnprepareDynamicResources", message)
                await self._clock.sleep(delay_s)
                delay_s = min(2 * delay_s, _LAST_RETRY_S)
