"""PersistentVolumeClaim protection: a claim being deleted goes once no pod that may still run mounts it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fairlead.embedded.controllers import access as a
from fairlead.embedded.controllers.access import Cluster, Watch, itself
from fairlead.embedded.controllers.pods import Object, phase
from fairlead.kube.resources import ObjectKey

FINALIZER = "kubernetes.io/pvc-protection"


def _mounted(pod: Object) -> Iterable[ObjectKey]:
    for volume in pod["spec"].get("volumes") or ():
        source = volume.get("persistentVolumeClaim")
        if source:
            yield ObjectKey(pod["metadata"]["namespace"], source["claimName"])


class ClaimProtection:
    name = "pvc-protection"
    watches: Sequence[Watch] = (Watch(a.CLAIMS, itself), Watch(a.PODS, _mounted))

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def reconcile(self, key: ObjectKey) -> float | None:
        c = self._cluster
        claim = c.get(a.CLAIMS, key)
        if claim is None or "deletionTimestamp" not in claim["metadata"]:
            return None
        finalizers = claim["metadata"].get("finalizers") or []
        if FINALIZER not in finalizers:
            return None
        # A pod that is not bound yet will not start with a claim that is going away.
        bound = (p for p in c.in_namespace(a.PODS, key.namespace) if p["spec"].get("nodeName"))
        users = (p for p in bound if phase(p) not in ("Succeeded", "Failed"))
        if any(key in _mounted(p) for p in users):
            return None
        meta = claim["metadata"]
        kept = [f for f in finalizers if f != FINALIZER]
        body = {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"], "finalizers": kept or None}
        await c.patch(a.CLAIMS, key, {"metadata": body})
        return None
