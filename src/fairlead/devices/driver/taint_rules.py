"""DeviceTaintRules: a node's device taints as objects of their own, where the API has them.

They say what the slices' taints say, in a form that people can list, and that takes effect where the driver's slice is
late. A rule is owned by driver and node (labels): what a former process left is taken over or removed. Which version of
the API has the kind, if any, is asked of the server.

A rule selects one device. A card that fails would have one for each of its partitions, too: those that share the card's
taint have none of their own. Nothing is lost by that: in the slice, which is what schedulers and the eviction of pods
go by, each partition has its taint.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Final

from msgspec.structs import replace

from fairlead.clock import SYSTEM, Clock
from fairlead.devices.inventory import Inventory
from fairlead.devices.slices.features import Taints
from fairlead.devices.slices.plan import Pool
from fairlead.devices.slices.rules import check_pool
from fairlead.kube.backoff import Backoff
from fairlead.kube.client import Client
from fairlead.kube.controller import Controller, Result
from fairlead.kube.discovery import Discovery
from fairlead.kube.errors import AlreadyExists, Forbidden, NotFound
from fairlead.kube.informer import Informer, Informers
from fairlead.kube.kinds import DEVICE_TAINT_RULES, NODES
from fairlead.kube.objects import (
    DeviceTaint,
    DeviceTaintRule,
    DeviceTaintRuleSpec,
    DeviceTaintSelector,
    ObjectMeta,
    OwnerReference,
)
from fairlead.kube.resources import ObjectKey, Resource

_LOG = logging.getLogger("fairlead.devices.driver.taint_rules")
DRIVER_LABEL: Final = "fairlead.dev/driver"
NODE_LABEL: Final = "fairlead.dev/node"
_VERSIONS: Final = ("v1", "v1beta2", "v1alpha3")
"""Newest first; all have the same form."""
_BACKOFF: Final = Backoff(first_s=0.1, max_s=30.0)
_UNSYNCED_RETRY_S: Final = 0.05
_FORBIDDEN_RETRY_S: Final = 600.0
_INDEX: Final = "pool"


def label_of(name: str) -> str:
    """A name as a label's value: itself, or shortened with a digest where it is longer than a label may be."""
    return name if len(name) <= 63 else f"{name[:54].rstrip('-.')}-{_digest(name)}"


def own_taints(inventory: Inventory, taints: Taints) -> dict[str, tuple[DeviceTaint, ...]]:
    """The taints without those that a partition shares with its whole device."""
    wholes = {device.name: device.parent for device in inventory.devices if device.parent}
    own: dict[str, tuple[DeviceTaint, ...]] = {}
    for name, of_device in taints.items():
        of_whole = taints.get(wholes.get(name, ""), ())
        if left := tuple(taint for taint in of_device if taint not in of_whole):
            own[name] = left
    return own


def wanted_rules(pool: Pool, taints: Taints) -> dict[str, DeviceTaintRule]:
    """The rules of a pool's taints, by name."""
    rules = {}
    for device, of_device in taints.items():
        for taint in of_device:
            rule = _rule(pool, device, taint)
            rules[rule.metadata.name] = rule
    return rules


def _rule(pool: Pool, device: str, taint: DeviceTaint) -> DeviceTaintRule:
    digest = _digest(f"{pool.driver}\0{pool.name}\0{device}\0{taint.key}")
    readable = f"{pool.name}-{device}-{pool.driver}".lower().replace("/", "-")[:240].rstrip("-.")
    labels = {DRIVER_LABEL: label_of(pool.driver), NODE_LABEL: label_of(pool.node)}
    selector = DeviceTaintSelector(device=device, driver=pool.driver, pool=pool.name)
    return DeviceTaintRule(
        metadata=ObjectMeta(name=f"{readable}-{digest}", labels=labels),
        spec=DeviceTaintRuleSpec(device_selector=selector, taint=taint),
    )


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:8]


def _is_same(wanted: DeviceTaintRule, present: DeviceTaintRule) -> bool:
    times = present.spec.taint.time_added
    return replace(wanted.spec, taint=replace(wanted.spec.taint, time_added=times)) == present.spec


class PoolTaintRules:
    """The rules of one pool. Made by `TaintRuleHub.add`."""

    def __init__(self, hub: TaintRuleHub, pool: Pool) -> None:
        self.pool = pool
        self._hub = hub
        # None until something is wanted: rules of a former process are left alone until then.
        self.wanted: Mapping[str, DeviceTaintRule] | None = None

    def want(self, taints: Taints) -> None:
        """The taints that there should be rules for; none removes them all."""
        wanted = wanted_rules(self.pool, taints)
        if wanted != self.wanted:
            self.wanted = wanted
            self._hub.wake(self)


class TaintRuleHub:
    """The rules of all pools of a process: one client and one watch, as `slices.hub` has them for slices."""

    def __init__(self, client: Client, *, node: str = "", concurrency: int = 4, clock: Clock = SYSTEM) -> None:
        """`node`: all pools are of this node, so nothing else need be watched."""
        self._client = client
        self._node = node
        self._clock = clock
        self._informers = Informers(client, clock=clock)
        self._pools: dict[ObjectKey, PoolTaintRules] = {}
        self._controller = Controller(
            "device-taint-rules", self._reconcile, concurrency=concurrency, backoff=_BACKOFF, clock=clock
        )
        self._resource: Resource[DeviceTaintRule] | None = None
        self._rules: Informer[DeviceTaintRule] | None = None
        self._forbidden_until_s = 0.0

    def add(self, driver: str, node: str, pool: str = "") -> PoolTaintRules:
        """Rules of a pool; its name is the node's unless given. Raises InventoryError for a bad name."""
        pool = pool or node
        check_pool(driver, pool)
        rules = PoolTaintRules(self, Pool(driver, pool, node))
        self._pools[ObjectKey(driver, pool)] = rules
        return rules

    def remove(self, rules: PoolTaintRules) -> None:
        """Let go of a pool; its rules stay."""
        self._pools.pop(ObjectKey(rules.pool.driver, rules.pool.name), None)

    def wake(self, rules: PoolTaintRules) -> None:
        self._controller.enqueue(ObjectKey(rules.pool.driver, rules.pool.name))

    async def run(self) -> None:
        """Keep the rules in step until cancelled. Returns at once where the API has no such kind."""
        self._resource = await self._find_resource()
        if self._resource is None:
            _LOG.info("the API server has no DeviceTaintRules; devices are tainted by their slices alone")
            return
        selector = DRIVER_LABEL if not self._node else f"{DRIVER_LABEL},{NODE_LABEL}={label_of(self._node)}"
        self._rules = self._informers.informer(self._resource, label_selector=selector, indexes={_INDEX: _by_pool})
        self._controller.watch(self._rules, _keys)
        async with self._informers:
            await self._controller.run()

    async def _find_resource(self) -> Resource[DeviceTaintRule] | None:
        """The kind in its newest served version. Waits for a server that does not answer."""
        discovery = Discovery(self._client)
        failures = 0
        for version in _VERSIONS:
            while True:
                try:
                    found = await discovery.resources(f"resource.k8s.io/{version}")
                except NotFound:
                    break
                except Exception as error:
                    failures += 1
                    _LOG.warning("resource.k8s.io/%s cannot be asked for: %s; trying again", version, error)
                    await self._clock.sleep(_BACKOFF.delay_s(failures))
                    continue
                if any(resource.name == DEVICE_TAINT_RULES.plural for resource in found):
                    return Resource.of(
                        f"resource.k8s.io/{version}",
                        DEVICE_TAINT_RULES.plural,
                        DEVICE_TAINT_RULES.kind,
                        DeviceTaintRule,
                        namespaced=False,
                    )
                break
        return None

    async def _reconcile(self, key: ObjectKey) -> Result | None:
        rules = self._pools.get(key)
        if rules is None or rules.wanted is None:
            return None
        assert self._rules is not None
        if not self._rules.synced.is_set():
            return Result(_UNSYNCED_RETRY_S)
        now_s = self._clock.monotonic_s()
        if now_s < self._forbidden_until_s:
            return Result(self._forbidden_until_s - now_s)
        try:
            await self._step(rules.pool, rules.wanted)
        except Forbidden as error:
            _LOG.warning("devices are tainted by their slices alone: %s", error)
            self._forbidden_until_s = now_s + _FORBIDDEN_RETRY_S
            return Result(_FORBIDDEN_RETRY_S)
        return None

    async def _step(self, pool: Pool, wanted: Mapping[str, DeviceTaintRule]) -> None:
        assert self._rules is not None
        assert self._resource is not None
        present = {rule.metadata.name: rule for rule in self._rules.store.by_index(_INDEX, str(pool))}
        for name, rule in wanted.items():
            if name not in present:
                await self._create(pool, rule)
            elif not _is_same(rule, present[name]):
                await self._replace(rule, present[name])
        for name, rule in present.items():
            if name not in wanted and not rule.metadata.is_deleting:
                try:
                    await self._client.delete(self._resource, name, uid=rule.metadata.uid)
                except NotFound:
                    continue

    async def _create(self, pool: Pool, rule: DeviceTaintRule) -> None:
        assert self._resource is not None
        owner = await self._owner(pool.node)
        owned = replace(rule, metadata=replace(rule.metadata, owner_references=[owner] if owner else ()))
        try:
            await self._client.create(self._resource, owned)
        except AlreadyExists:
            # The watch is behind, or somebody took the name.
            live = await self._client.get(self._resource, rule.metadata.name)
            if not _is_same(rule, live):
                await self._replace(rule, live)

    async def _replace(self, rule: DeviceTaintRule, present: DeviceTaintRule) -> None:
        assert self._resource is not None
        labels = {**present.metadata.labels, **rule.metadata.labels}
        await self._client.replace(
            self._resource, replace(present, metadata=replace(present.metadata, labels=labels), spec=rule.spec)
        )

    async def _owner(self, node: str) -> OwnerReference | None:
        try:
            return NODES.owner_reference(await self._client.get(NODES, node), block_deletion=False)
        except NotFound:
            return None


def _by_pool(rule: DeviceTaintRule) -> Sequence[str]:
    return [f"{key.namespace}/{key.name}" for key in _keys(rule)]


def _keys(rule: DeviceTaintRule) -> Sequence[ObjectKey]:
    selector = rule.spec.device_selector
    return (ObjectKey(selector.driver, selector.pool),) if selector and selector.driver and selector.pool else ()
