"""Writes what was seen of pools that ask for it as TrafficReports, so that whoever compares versions can read it.

One object a pool and picker, applied every second while there is something new; slower for pools of very many engines.
A picker that starts again has another name: what the former one has seen stays valid beside it. When a pool does not
ask any more, its reports are deleted, those of pickers that are gone among them; with the pool they go by themselves.
Where the kind is missing or may not be written, it is said once and looked for now and then.
"""

from __future__ import annotations

import logging
import re
from typing import Any, Final

import msgspec

from fairlead.api.traffic_report import TRAFFIC_REPORTS, TrafficReport
from fairlead.clock import SYSTEM, Clock, format_micro_time
from fairlead.gateway.endpoints import Change, Registry
from fairlead.gateway.observe.traffic import Traffic
from fairlead.kube.authorization import CredentialsError
from fairlead.kube.client import Client
from fairlead.kube.errors import ApiError, Forbidden, NotFound
from fairlead.kube.resources import Unstructured
from fairlead.kube.transport import Unreachable

INTERVAL_S: Final = 1.0
GROUP_S: Final = 0.005
"""Added for each group: a report of a thousand engines is 640 kB."""
RUNNING_S: Final = 4.0
"""Without an end, how many requests are under way is told again after so long."""
REFUSED_AGAIN_S: Final = 30.0
POOL_LABEL: Final = "fairlead.dev/pool"

_REPORTS: Final = TRAFFIC_REPORTS.as_unstructured()
_POOL_API: Final = "inference.networking.k8s.io/v1"
_log = logging.getLogger(__name__)


class Reporter:
    """Reports of one picker."""

    def __init__(
        self, client: Client, registry: Registry, traffic: Traffic, picker: str, clock: Clock = SYSTEM
    ) -> None:  # fmt: skip
        """`picker` is the name of this process, another one after each start."""
        self._client = client
        self._registry = registry
        self._traffic = traffic
        self._picker = _as_name(picker)
        self._clock = clock
        self._over: set[str] = set()  # keys of pools that do not ask any more
        self._due_s: dict[str, float] = {}  # key of a pool -> when its next report may be written
        self._refused: str = ""
        registry.on_change(self._pool_changed)

    async def run(self) -> None:
        """Report until cancelled."""
        while True:
            await self.report()
            await self._clock.sleep(INTERVAL_S if not self._refused else REFUSED_AGAIN_S)

    async def report(self) -> None:
        """Write what is new, and delete what is not asked for any more."""
        try:
            for key in sorted(self._over):
                await self._delete(key)
                self._over.discard(key)
            now_s = self._clock.monotonic_s()
            for key, pool in list(self._traffic.pools.items()):
                due_s = self._due_s.get(key, 0.0)
                if now_s >= due_s and (pool.changed or (pool.running and now_s >= due_s + RUNNING_S)):
                    await self._write(key)
            self._refused = ""
        except (Forbidden, NotFound) as error:
            self._refuse(f"traffic is not reported, so that new versions cannot be compared: {error}")
        except (ApiError, Unreachable, CredentialsError, TimeoutError) as error:
            _log.info("traffic report: %s; trying again", error)

    async def _write(self, key: str) -> None:
        pool, seen = self._registry.pools.get(key), self._traffic.pools.get(key)
        if pool is None or seen is None or not pool.uid:
            return
        seen.changed = False
        namespace, _, name = key.partition("/")
        groups = self._traffic.groups(pool)
        seen.running = any(group.in_flight for group in groups)
        report = TrafficReport(
            metadata=self._metadata(namespace, name, pool.uid),
            pool=name,
            picker=self._picker,
            asked=seen.asked,
            since=format_micro_time(seen.since_s),
            at=format_micro_time(self._clock.wall_s()),
            groups=groups,
        )
        self._due_s[key] = self._clock.monotonic_s() + GROUP_S * len(groups)
        try:
            await self._client.apply(_REPORTS, msgspec.to_builtins(report), force=True)
        except BaseException:
            seen.changed = True
            raise

    async def _delete(self, key: str) -> None:
        namespace, _, name = key.partition("/")
        self._due_s.pop(key, None)
        try:
            if len(name) <= 63:
                await self._client.delete_collection(_REPORTS, namespace, label_selector=f"{POOL_LABEL}={name}")
            else:
                await self._client.delete(_REPORTS, f"{name}.{self._picker}", namespace)
        except NotFound:
            return

    def _metadata(self, namespace: str, name: str, uid: str) -> Unstructured:
        owner: dict[str, Any] = {"apiVersion": _POOL_API, "kind": "InferencePool", "name": name, "uid": uid}
        labels = {POOL_LABEL: name} if len(name) <= 63 else {}
        return {
            "name": f"{name}.{self._picker}", "namespace": namespace, "labels": labels, "ownerReferences": [owner],
        }  # fmt: skip

    def _refuse(self, message: str) -> None:
        if message != self._refused:
            _log.warning("%s", message)
        self._refused = message

    def _pool_changed(self, change: Change) -> None:
        asked = change.before is not None and bool(change.before.reports)
        asks = change.now is not None and bool(change.now.reports)
        if asks:
            self._over.discard(change.key)
        elif asked and change.now is not None:
            self._over.add(change.key)


def _as_name(picker: str) -> str:
    """As part of the name of an object."""
    return re.sub(r"[^a-z0-9]+", "-", picker.lower()).strip("-")[-100:].strip("-") or "picker"
