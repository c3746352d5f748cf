"""What a pod gets so that its engine can be given any adapter: the sidecar, its volume and the cache. Pure."""

from __future__ import annotations

from typing import Any, Final

from fairlead.serving.store.mount import MOUNTS, POD_UID, ModelMount, StoreFacts, hold_containers

Json = dict[str, Any]

PORT: Final = 8095
CONTAINER: Final = "adapter-loader"
SOURCES_ANNOTATION: Final = "fairlead.dev/adapter-sources"
"""On a pod: JSON object of what its loader is to fetch, slot -> source."""
_VOLUME = "adapter-sources"
_FOLDER = "/etc/fairlead/adapters"


def mount_adapters(facts: StoreFacts) -> ModelMount:
    """The mount of a service whose adapters may be fetched; it goes together with those of models (`mount_models`)."""
    path = facts.cache_path or f"{MOUNTS}/models"
    host = {"hostPath": {"path": path, "type": "DirectoryOrCreate"}} if facts.cache_path else {"emptyDir": {}}
    cache = {"name": "model-cache", "mountPath": path}
    uid: Json = {"name": POD_UID, "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}}
    ip: Json = {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    reference = {"fieldPath": f"metadata.annotations['{SOURCES_ANNOTATION}']"}
    security: Json = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    if facts.fetch_as_root:
        security = {**security, "runAsUser": 0}
    loader: Json = {
        "name": CONTAINER,
        "image": facts.fetch_image,
        "restartPolicy": "Always",
        "command": [
            "fairlead", "adapter-loader", "--wanted", f"{_FOLDER}/sources", "--cache", path, "--host", "$(POD_IP)",
            "--port", str(PORT),
        ],
        "env": [uid, ip],
        "volumeMounts": [cache, {"name": _VOLUME, "mountPath": _FOLDER, "readOnly": True}],
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "2Gi"}},
        "securityContext": security,
    }  # fmt: skip
    return ModelMount(
        "",
        "Fetch",
        volumes=(
            {"name": "model-cache", **host},
            {"name": _VOLUME, "downwardAPI": {"items": [{"path": "sources", "fieldRef": reference}]}},
        ),
        mounts=({**cache, "readOnly": True},),
        env=(uid,),
        init_containers=(*hold_containers(facts), loader),
    )
