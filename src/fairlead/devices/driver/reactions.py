"""What others are told when a device's state changes: Events on the Node, the claims and the pods that hold it, and
DeviceTaintRules.

    reactions = HealthReactions(client, driver=…, node=…, recorder=recorder, claims=lookup, rules=rules)
    ...                                        # beside: await reactions.run()
    reactions.note(view)                       # at once, with each new view

The taints in the slices are the publisher's work; what happens to the pods is the scheduler's and the kubelet's.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from typing import Final

from fairlead.devices.driver.damping import DampingSettings
from fairlead.devices.driver.holders import ClaimLookup, holders_of
from fairlead.devices.driver.state import NodeView
from fairlead.devices.driver.taint_rules import PoolTaintRules, own_taints
from fairlead.devices.driver.transitions import Transition, compute_transitions
from fairlead.devices.vendor import ClaimReference
from fairlead.kube.authorization import CredentialsError
from fairlead.kube.client import Client
from fairlead.kube.errors import ApiError, NotFound
from fairlead.kube.event_correlation import Occurrence, Subject
from fairlead.kube.events import EventRecorder
from fairlead.kube.kinds import NODES
from fairlead.kube.transport import Unreachable

_LOG = logging.getLogger("fairlead.devices.driver.reactions")
_ACTION: Final = "WatchDevices"


class HealthReactions:
    """The reactions of one driver on one node."""

    def __init__(
        self,
        client: Client,
        *,
        driver: str,
        node: str,
        recorder: EventRecorder,
        claims: ClaimLookup,
        pool: str = "",
        rules: PoolTaintRules | None = None,
        prepared: Callable[[], Collection[ClaimReference]] = tuple,
        settings: DampingSettings | None = None,
    ) -> None:
        """`claims` and `recorder` are shared by the process. `prepared` names the claims that this driver prepared, for
        where listing claims is not allowed. `rules` is None where no DeviceTaintRules are wanted."""
        self._client = client
        self._driver = driver
        self._node = node
        self._pool = pool or node
        self._recorder = recorder
        self._claims = claims
        self._rules = rules
        self._prepared = prepared
        self._settings = settings or DampingSettings()
        self._last: NodeView | None = None
        self._pending: asyncio.Queue[tuple[Transition, ...]] = asyncio.Queue()
        self._node_uid = ""

    def note(self, view: NodeView) -> None:
        """Take in a new view; what there is to tell is told by `run`."""
        transitions = compute_transitions(self._last, view, driver=self._driver, settings=self._settings)
        self._last = view
        if self._rules is not None and view.is_probed:
            self._rules.want(own_taints(view.inventory, view.taints))
        if transitions:
            self._pending.put_nowait(transitions)

    async def run(self) -> None:
        """Tell, until cancelled. What cannot be told is logged; it never holds up what comes after."""
        while True:
            transitions = await self._pending.get()
            await self._tell_node(transitions)
            try:
                await self._tell_holders([t for t in transitions if t.device])
            except (ApiError, Unreachable, CredentialsError) as error:
                _LOG.warning(
                    "%s on %s: the holders of %s are not told: %s",
                    self._driver,
                    self._node,
                    ", ".join(sorted({t.device for t in transitions})),
                    error,
                )

    async def _tell_node(self, transitions: Sequence[Transition]) -> None:
        uid = await self._uid_of_node()
        for transition in transitions:
            if transition.told_with:
                continue
            log = _LOG.info if transition.is_good else _LOG.warning
            log("node %s: %s: %s", self._node, transition.reason, transition.message)
            # A subject of its own for each device: one that floods does not silence the others.
            part = f"devices{{{transition.device}}}" if transition.device else ""
            self._record(Subject("v1", "Node", "", self._node, uid, field_path=part), transition)

    async def _tell_holders(self, transitions: Sequence[Transition]) -> None:
        if not transitions:
            return
        claims = await self._claims.claims(self._prepared())
        for transition in transitions:
            for holder in holders_of(claims, self._driver, self._pool, transition.device):
                for subject in (holder.claim, *holder.pods):
                    self._record(subject, transition)

    def _record(self, subject: Subject, transition: Transition) -> None:
        kind = "Normal" if transition.is_good else "Warning"
        self._recorder.record(Occurrence(subject, kind, transition.reason, transition.message, _ACTION))

    async def _uid_of_node(self) -> str:
        """The Node's uid; its name, as kubelets have it, where the Node cannot be asked for."""
        if not self._node_uid:
            try:
                self._node_uid = (await self._client.get(NODES, self._node)).metadata.uid
            except NotFound:
                return self._node
            except (ApiError, Unreachable, CredentialsError) as error:
                _LOG.debug("node %s: %s", self._node, error)
                return self._node
        return self._node_uid
