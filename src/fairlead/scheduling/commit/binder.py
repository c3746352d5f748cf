"""Writes what was decided for gangs: claims, then bindings. The docstring of the package tells what may fail."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fairlead.clock import SYSTEM, Clock
from fairlead.kube.client import Client
from fairlead.kube.errors import ApiError, Conflict, NotFound
from fairlead.kube.informer import Informer
from fairlead.kube.kinds import PERSISTENT_VOLUME_CLAIMS, PODS
from fairlead.kube.objects import PersistentVolumeClaim, Pod, ResourceClaim
from fairlead.kube.pods import bind
from fairlead.scheduling.commit.claim_writer import ClaimRef, ClaimWriter, is_newer
from fairlead.scheduling.commit.contention import Contention
from fairlead.scheduling.commit.faults import CommitFailedError, Requests
from fairlead.scheduling.commit.order import Binding, ClaimOrder, Order, order_of, stands
from fairlead.scheduling.commit.readiness import (
    SELECTED_NODE,
    are_devices_ready,
    is_volume_bound,
    must_wait,
    stamped,
)
from fairlead.scheduling.commit.together import together
from fairlead.scheduling.commit.until import Waiting
from fairlead.scheduling.gangs.model import Gang
from fairlead.scheduling.snapshot import PodView
from fairlead.scheduling.verdict import Placed

_LOG = logging.getLogger("fairlead.scheduling")

SHOWN_S: Final = 30.0
"""How long the watch may take to show what was written."""
READY_S: Final = 600.0
"""How long devices and volumes may take to become ready, as kube-scheduler's bindTimeoutSeconds."""
_BINDING_CONFLICTS: Final = 5


@dataclass(frozen=True, slots=True)
class Copies:
    """Informers that a commit looks at."""

    pods: Informer[Pod]
    claims: Informer[ResourceClaim]
    volume_claims: Informer[PersistentVolumeClaim]


@dataclass(frozen=True, slots=True)
class Outcomes:
    """Who is told how commits end."""

    bound: Callable[[PodView, str], None]
    """A pod is on its node."""
    failed: Callable[[Gang, Sequence[PodView], str], None]
    """Pods could not be bound; nothing is reserved for them any more."""
    broken: Callable[[Gang, Sequence[PodView], str], None]
    """Pods were bound, and their gang will not reach its minimum: they have to leave again."""
    placed: Callable[[Gang], None] = lambda _: None
    """A gang has all on nodes that it must have."""


class Binder:
    """All commits that are under way. `submit` never waits."""

    def __init__(
        self, client: Client, copies: Copies, requests: Requests, outcomes: Outcomes, *, clock: Clock = SYSTEM
    ) -> None:
        self.claims = ClaimWriter(client, copies.claims, requests, clock=clock)
        self.in_flight: dict[str, str] = {}
        """Uid -> node of pods that are being bound."""
        self._client = client
        self._copies = copies
        self._requests = requests
        self._outcomes = outcomes
        self._clock = clock
        # Before the waits: whoever waits for a claim to be shown asks about its devices then.
        self._contention = Contention(copies.claims)
        self._claim_waits = Waiting(copies.claims)
        self._pod_waits = Waiting(copies.pods)
        self._volume_waits = Waiting(copies.volume_claims)
        self._tasks: set[asyncio.Task[None]] = set()

    def submit(self, placed: Placed) -> None:
        """Start to write a verdict."""
        order = order_of(placed)
        for binding in order.bindings:
            self.in_flight[binding.pod.uid] = binding.node
        task = asyncio.create_task(self._commit(order))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Stop at once; what is half written is made up for, or given back, by the next scheduler."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _commit(self, order: Order) -> None:
        failed: Sequence[Binding] = order.bindings
        try:
            why = await self._prepare(order)
            if not why:
                failed, why = await self._bind_all(order)
            if failed and why:
                await self._give_back(order, {binding.pod.uid for binding in failed})
        except Exception as error:
            _LOG.exception("%s: commit failed", order.gang.key)
            why = f"{type(error).__name__}: {error}"
        finally:
            for uid in order.uids:
                self.in_flight.pop(uid, None)
        if failed and why:
            _LOG.info("%s: %d pods are not bound: %s", order.gang.key, len(failed), why)
            self._outcomes.failed(order.gang, [binding.pod for binding in failed], why)

    # Claims and waiting

    async def _prepare(self, order: Order) -> str:
        """Steps 1 and 2. Why they failed; empty where they did not."""
        try:
            if order.claims:
                await together([self._reserve(claim) for claim in order.claims])
            if any(binding.volumes for binding in order.bindings):
                await self._while_alive(order, self._provide_volumes(order))
            self._refuse_gone(order.bindings)
        except CommitFailedError as error:
            return str(error)
        except TimeoutError as error:
            return str(error) or "what was written did not become ready in time"
        except ApiError as error:
            return error.message
        return ""

    async def _reserve(self, wanted: ClaimOrder) -> None:
        """A claim's part of steps 1 and 2."""
        ref = self._ref(wanted)
        if ref is None:
            raise CommitFailedError(f'claim "{wanted.namespace}/{wanted.name}" is gone')
        allocation = wanted.allocation and stamped(wanted.allocation, self._clock.wall_s())
        claim = await self.claims.reserve(ref, allocation, wanted.consumers)
        if allocation is not None:
            await self._claim_waits.until(ref.namespace, ref.name, lambda copy: _shows(copy, claim), SHOWN_S)
            older = self._contention.older_holder(claim)
            if older is not None:
                raise CommitFailedError(f"{older}; another scheduler gave it away at the same time")
        if must_wait(claim):
            await self._claim_waits.until(
                ref.namespace, ref.name, lambda copy: are_devices_ready(copy, ref.uid), READY_S
            )

    def _ref(self, wanted: ClaimOrder) -> ClaimRef | None:
        copy = self._copies.claims.store.get(wanted.name, wanted.namespace)
        return None if copy is None else ClaimRef(wanted.namespace, wanted.name, copy.metadata.uid)

    async def _provide_volumes(self, order: Order) -> None:
        await together([self._provide(b, name) for b in order.bindings for name in b.volumes])

    async def _provide(self, binding: Binding, name: str) -> None:
        """Have a volume made where the pod goes. Raises CommitFailedError, TimeoutError."""
        namespace = binding.pod.namespace
        copy = self._copies.volume_claims.store.get(name, namespace)
        if copy is not None and copy.spec.volume_name and copy.status.phase == "Bound":
            return
        patch = {"metadata": {"annotations": {SELECTED_NODE: binding.node}}}
        what = f"persistent volume claim {namespace}/{name}"
        written = await self._requests.send(
            lambda: self._client.patch(PERSISTENT_VOLUME_CLAIMS, name, patch, namespace), what
        )
        version = written.metadata.resource_version

        def is_bound(copy: PersistentVolumeClaim | None) -> bool:
            if copy is not None and is_newer(version, copy.metadata.resource_version):
                return False
            return is_volume_bound(copy, binding.node)

        try:
            await self._volume_waits.until(namespace, name, is_bound, READY_S)
        except TimeoutError as error:
            raise CommitFailedError(f"{what} had no volume on node {binding.node} after {READY_S:g} s") from error

    async def _while_alive(self, order: Order, work: Coroutine[Any, Any, None]) -> None:
        """What may take long ends when a member is deleted."""

        async def until_gone(binding: Binding) -> None:
            pod = binding.pod
            with contextlib.suppress(TimeoutError):
                await self._pod_waits.until(pod.namespace, pod.name, lambda copy: _refuse(copy, binding), READY_S)

        watches = [asyncio.ensure_future(until_gone(binding)) for binding in order.bindings]
        main = asyncio.ensure_future(work)
        try:
            done, _ = await asyncio.wait([main, *watches], return_when=asyncio.FIRST_COMPLETED)
            for task in sorted(done, key=lambda task: task is not main):
                task.result()
            await main
        finally:
            for task in (main, *watches):
                task.cancel()
            await asyncio.gather(main, *watches, return_exceptions=True)

    def _refuse_gone(self, bindings: Sequence[Binding]) -> None:
        for binding in bindings:
            _refuse(self._copies.pods.store.get(binding.pod.name, binding.pod.namespace), binding)

    # Bindings

    async def _bind_all(self, order: Order) -> tuple[list[Binding], str]:
        """Step 3. The pods that are not bound, and why."""
        before = {pod.uid for pod in order.gang.bound}
        hoped, bound = before | set(order.uids), set(before)
        reasons: dict[str, str] = {}

        async def attempt(binding: Binding) -> None:
            uid = binding.pod.uid
            if reasons and not stands(order.gang.root, hoped):
                reasons[uid] = f"the gang can no longer be bound together: {next(iter(reasons.values()))}"
                return
            why = await self._bind(binding)
            if why:
                hoped.discard(uid)
                reasons[uid] = why
            else:
                bound.add(uid)
                self._outcomes.bound(binding.pod, binding.node)

        await together([attempt(binding) for binding in order.bindings])
        if stands(order.gang.root, bound):
            self._outcomes.placed(order.gang)
        if not reasons:
            return [], ""
        why = next(iter(reasons.values()))
        if bound != before and not stands(order.gang.root, bound):
            half = [binding.pod for binding in order.bindings if binding.pod.uid in bound]
            self._outcomes.broken(order.gang, half, why)
        return [binding for binding in order.bindings if binding.pod.uid in reasons], why

    async def _bind(self, binding: Binding) -> str:
        """Why a pod is not bound to its node; empty where it is."""
        pod, what = binding.pod, f"binding of pod {binding.pod.full_name}"
        for _ in range(_BINDING_CONFLICTS):
            try:
                await self._requests.send(
                    lambda: bind(self._client, pod.namespace, pod.name, binding.node, uid=pod.uid), what
                )
                return ""
            except NotFound:
                return f"pod {pod.full_name} was deleted"
            except (Conflict, CommitFailedError) as error:
                # The answer to an earlier attempt may have been lost: what counts is where the pod is.
                found = await self._look(pod)
                if found is not None and found.metadata.uid == pod.uid and found.spec.node_name == binding.node:
                    return ""
                try:
                    _refuse(found, binding)
                except CommitFailedError as reason:
                    return str(reason)
                if isinstance(error, CommitFailedError):
                    return str(error)
                why = error.message
            except ApiError as error:
                return error.message
        return why

    async def _look(self, pod: PodView) -> Pod | None:
        """The pod as it is. Until the API server answers nothing can be done about it, so there is no end to asking."""
        while True:
            try:
                return await self._requests.send(
                    lambda: self._client.get(PODS, pod.name, pod.namespace), f"pod {pod.full_name}"
                )
            except NotFound:
                return None
            except CommitFailedError as error:
                _LOG.warning("whether pod %s is bound is not known: %s", pod.full_name, error)

    async def _give_back(self, order: Order, uids: Collection[str]) -> None:
        """Take back what was reserved for pods that are not bound."""

        async def leave(wanted: ClaimOrder) -> None:
            ref = self._ref(wanted)
            leaving = [consumer.uid for consumer in wanted.consumers if consumer.uid in uids]
            if ref is None or not leaving:
                return
            try:
                await self.claims.leave(ref, leaving, wanted.allocation)
            except (CommitFailedError, ApiError) as error:
                _LOG.warning("the reservation of %s is not given back yet: %s", ref, error)

        await asyncio.gather(*(leave(claim) for claim in order.claims))


def _shows(copy: ResourceClaim | None, written: ResourceClaim) -> bool:
    """Whether a copy is as new as what was written."""
    if copy is None or copy.metadata.uid != written.metadata.uid:
        return True
    return not is_newer(written.metadata.resource_version, copy.metadata.resource_version)


def _refuse(pod: Pod | None, binding: Binding) -> bool:
    """False. Raises CommitFailedError for a pod that cannot be bound to its node any more."""
    name = f"pod {binding.pod.full_name}"
    if pod is None or pod.metadata.uid != binding.pod.uid or pod.metadata.is_deleting:
        raise CommitFailedError(f"{name} was deleted")
    if pod.spec.node_name and pod.spec.node_name != binding.node:
        raise CommitFailedError(f"{name} was bound to node {pod.spec.node_name} by another scheduler")
    if pod.spec.scheduling_gates:
        raise CommitFailedError(f"{name} waits for scheduling gates")
    return False
