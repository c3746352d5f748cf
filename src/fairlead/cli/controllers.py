"""`fairlead controllers`: every controller of the platform in one process, on one client and one set of copies."""

from __future__ import annotations

import asyncio
from typing import Any

from fairlead.clock import SYSTEM
from fairlead.embedded.controllers.access import Cluster
from fairlead.embedded.controllers.budgets import Budgets, ClaimUsers, PodClaims
from fairlead.embedded.controllers.garbage_collector import GarbageCollector
from fairlead.embedded.controllers.nodes import Nodes
from fairlead.embedded.controllers.services import Services
from fairlead.embedded.controllers.tenancy import Accounts, Namespaces, root_ca_of
from fairlead.embedded.controllers.workloads import Deployments, Jobs, ReplicaSets, StatefulSets
from fairlead.kube.client import Client
from fairlead.kube.informer import Handler, Informers
from fairlead.scheduling.controller import Scheduler
from fairlead.serving.controller import ModelServices


class _Loop:
    def __init__(self, reconcile, name) -> None:
        self.reconcile, self.name = reconcile, name
        self.queue: asyncio.Queue[Any] = asyncio.Queue()
        self.queued: set[Any] = set()
        self.fails: dict[Any, int] = {}
        self.busy: set[Any] = set()

    def add(self, key: Any) -> None:
        if key not in self.queued:
            self.queued.add(key)
            self.queue.put_nowait(key)

    async def run(self) -> None:
        await asyncio.gather(*(self.work() for _ in range(4)))

    async def work(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            key = await self.queue.get()
            if key in self.busy:
                loop.call_later(0.01, self.queue.put_nowait, key)
                continue
            self.queued.discard(key)
            self.busy.add(key)
            try:
                again = await self.reconcile(key)
                self.fails.pop(key, None)
                if again is not None:
                    loop.call_later(again, self.add, key)
            except Exception as error:
                n = self.fails[key] = self.fails.get(key, 0) + 1
                print(self.name, key, type(error).__name__, error, flush=True)
                if n > 3:
                    import traceback

                    traceback.print_exc()
                loop.call_later(min(10, 0.05 * 2**n), self.add, key)
            finally:
                self.busy.discard(key)


async def run(kubeconfig, *, only=None, scheduler_names=frozenset(), elect=False) -> None:
    async with Client.load(kubeconfig) as client:
        informers = Informers(client)

        def tell(obj: Any, kind: str, reason: str, message: str) -> None:
            pass

        cluster = Cluster(client, informers, SYSTEM, tell)
        controllers = [
            Deployments(cluster),
            ReplicaSets(cluster),
            StatefulSets(cluster),
            Jobs(cluster),
            Nodes(cluster),
            Services(cluster),
            Namespaces(cluster),
            Accounts(cluster, root_ca_of(kubeconfig)),
            Budgets(cluster),
            PodClaims(cluster),
            ClaimUsers(cluster),
        ]
        loops = []
        for c in controllers:
            loop = _Loop(c.reconcile, c.name)
            loops.append(loop)
            for w in c.watches:

                def wake(obj, w=w, loop=loop):
                    for k in w.keys(obj):
                        loop.add(k)

                cluster.copy(w.resource).add_handler(Handler.every(wake))
        for r in (a_pods for a_pods in ()):
            pass
        gc = GarbageCollector(cluster)
        scheduler = Scheduler(client, informers, scheduler_names, tell)
        serving = ModelServices(client, informers)
        from fairlead.kube.resources import ObjectKey, key_of

        sl = _Loop(serving.reconcile, "serving")
        serving.services.add_handler(Handler.every(lambda o: sl.add(key_of(o))))

        def pod_wake(p):
            o = p.metadata.controller
            if o and o.kind == "ModelService":
                sl.add(ObjectKey(p.metadata.namespace, o.name))

        serving.pods.add_handler(Handler.every(pod_wake))
        from fairlead.embedded.controllers import access as a

        for r in (a.CLAIM_TEMPLATES, a.RESOURCE_CLAIMS, a.REVISIONS, a.NODES):
            cluster.copy(r)
        async with informers:
            await asyncio.sleep(0.3)
            await asyncio.gather(*(l.run() for l in [*loops, sl]), gc.run(), scheduler.run())
