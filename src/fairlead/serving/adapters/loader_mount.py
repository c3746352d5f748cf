"""What a pod gets so that its engine can be given any adapter: the sidecar, its volume and the cache. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from fairlead.serving.store.mount import CREDENTIALS, MOUNTS, POD_UID, ModelMount, StoreFacts, hold_containers

Json = dict[str, Any]

PORT: Final = 8095
CONTAINER: Final = "adapter-loader"
SOURCES_ANNOTATION: Final = "fairlead.dev/adapter-sources"
"""On a pod: JSON object of what its loader is to fetch, slot -> source, or an object with the source, the name of a
Secret and the keys of whoever must have signed it (`loader.Wanted`)."""
SECRETS: Final = f"{CREDENTIALS}/adapters"
"""Folder with one of each Secret that adapters may name."""
_VOLUME = "adapter-sources"
_FOLDER = "/etc/fairlead/adapters"


def mount_adapters(facts: StoreFacts, secrets: Sequence[str] = (), fetch_env: Sequence[Json] = ()) -> ModelMount:
    """The mount of a service whose adapters may be fetched; it goes together with those of models (`mount_models`).
    `secrets` are names of those that adapters may ask for; `fetch_env` as with models."""
    path = facts.cache_path or f"{MOUNTS}/models"
    host = {"hostPath": {"path": path, "type": "DirectoryOrCreate"}} if facts.cache_path else {"emptyDir": {}}
    cache = {"name": "model-cache", "mountPath": path}
    uid: Json = {"name": POD_UID, "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}}
    ip: Json = {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}
    reference = {"fieldPath": f"metadata.annotations['{SOURCES_ANNOTATION}']"}
    security: Json = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    if facts.fetch_as_root:
        security = {**security, "runAsUser": 0}
    # One that is made later is there as soon as the kubelet looks again.
    credentials: list[Json] = [
        {"name": f"adapter-credentials-{i}", "secret": {"secretName": name, "optional": True}}
        for i, name in enumerate(secrets)
    ]
    keys = [
        {"name": volume["name"], "mountPath": f"{SECRETS}/{volume['secret']['secretName']}", "readOnly": True}
        for volume in credentials
    ]
    loader: Json = {
        "name": CONTAINER,
        "image": facts.fetch_image,
        "restartPolicy": "Always",
        "command": [
            "fairlead", "adapter-loader", "--wanted", f"{_FOLDER}/sources", "--cache", path, "--host", "$(POD_IP)",
            "--port", str(PORT), *(("--capacity", facts.cache_capacity) if host.get("hostPath") and facts.cache_capacity
                                   else ()),
        ],
        "env": [uid, ip, *fetch_env],
        "volumeMounts": [cache, {"name": _VOLUME, "mountPath": _FOLDER, "readOnly": True}, *keys],
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "2Gi"}},
        "securityContext": security,
    }  # fmt: skip
    return ModelMount(
        "",
        "Fetch",
        volumes=(
            {"name": "model-cache", **host},
            {"name": _VOLUME, "downwardAPI": {"items": [{"path": "sources", "fieldRef": reference}]}},
            *credentials,
        ),
        mounts=({**cache, "readOnly": True},),
        env=(uid,),
        init_containers=(*hold_containers(facts), loader),
    )
