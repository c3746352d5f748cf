"""What the built-in admission plugins do to pods: service account, priority, runtime class, tolerations."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from fairlead.embedded.apiserver.kinds.priority_class import SYSTEM_PRIORITIES, default_class
from fairlead.embedded.apiserver.registry import Object, RequestContext
from fairlead.kube.errors import Forbidden
from fairlead.kube.quantity import parse_quantity

TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
_TOKEN_VOLUME_PREFIX = "kube-api-access-"
_TOKEN_LIFETIME_S = 3607
_MIRROR = "kubernetes.io/config.mirror"
_GENERATED_CHARACTERS = "bcdfghjklmnpqrstvwxz2456789"
_EVICTION_DELAY_S = 300
_UNREADY_TAINTS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


def refuse(pod: Object, reason: str) -> Forbidden:
    """The error of a pod that admission refuses."""
    name = pod.get("metadata", {}).get("name") or pod.get("metadata", {}).get("generateName", "")
    return Forbidden(f'pods "{name}" is forbidden: {reason}', name=name, kind="pods")


def is_mirror(pod: Object) -> bool:
    """Whether the pod mirrors a static pod of a node."""
    annotations = pod["metadata"].get("annotations")
    return bool(annotations) and _MIRROR in annotations


def admit_service_account(pod: Object, context: RequestContext, randomness: random.Random) -> None:
    """Give the pod its service account and, unless somebody said no, a volume with the account's token.

    Raises Forbidden where the account does not exist.
    """
    if is_mirror(pod):
        return
    spec = pod["spec"]
    name = spec.get("serviceAccountName")
    if not name:
        name = spec["serviceAccountName"] = spec["serviceAccount"] = "default"
    account = context.lookup("", "serviceaccounts", context.namespace, name)
    if account is None:
        reason = f'error looking up service account {context.namespace}/{name}: serviceaccount "{name}" not found'
        raise refuse(pod, reason)
    wanted = spec.get("automountServiceAccountToken")
    if wanted is None:
        wanted = account.get("automountServiceAccountToken")
    if wanted is None or wanted:
        _mount_token(spec, randomness)
    if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
        spec["imagePullSecrets"] = [dict(secret) for secret in account["imagePullSecrets"]]


def _mount_token(spec: Object, randomness: random.Random) -> None:
    volumes = spec.get("volumes") or []
    name = next((v["name"] for v in volumes if v.get("name", "").startswith(_TOKEN_VOLUME_PREFIX)), "")
    known = bool(name)
    if not known:
        name = _TOKEN_VOLUME_PREFIX + "".join(randomness.choices(_GENERATED_CHARACTERS, k=5))
    needed = False
    for group in ("initContainers", "containers"):
        for container in spec.get(group) or ():
            mounts = container.get("volumeMounts") or []
            if all(mount.get("mountPath") != TOKEN_PATH for mount in mounts):
                container["volumeMounts"] = [*mounts, {"name": name, "readOnly": True, "mountPath": TOKEN_PATH}]
                needed = True
    if needed and not known:
        spec["volumes"] = [*volumes, {"name": name, "projected": _token_source()}]


def _token_source() -> Object:
    namespace = {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
    return {
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": _TOKEN_LIFETIME_S, "path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [namespace]}},
        ],
        "defaultMode": 0o644,
    }


def admit_priority(pod: Object, context: RequestContext) -> None:
    """Turn the priority class into a number and a preemption policy. Raises Forbidden for an unknown class, and for
    values of the pod's own that disagree."""
    spec = pod["spec"]
    name, value, policy = spec.get("priorityClassName"), 0, "PreemptLowerPriority"
    if name:
        found = context.lookup("scheduling.k8s.io", "priorityclasses", "", name)
        if found is not None:
            value, policy = found.get("value", 0), found.get("preemptionPolicy") or policy
        elif name in SYSTEM_PRIORITIES:
            value = SYSTEM_PRIORITIES[name]
        else:
            raise refuse(pod, f"no PriorityClass with name {name} was found")
    else:
        found = default_class(context)
        if found is not None:
            spec["priorityClassName"] = found["metadata"]["name"]
            value, policy = found.get("value", 0), found.get("preemptionPolicy") or policy
    given, given_policy = spec.get("priority"), spec.get("preemptionPolicy")
    if given is not None and given != value:
        reason = (
            f"the integer value of priority ({given}) must not be provided in pod spec; priority admission controller "
            f"computed {value} from the given PriorityClass name"
        )
        raise refuse(pod, reason)
    if given_policy is not None and given_policy != policy:
        reason = (
            f"the string value of PreemptionPolicy ({given_policy}) must not be provided in pod spec; priority "
            f"admission controller computed {policy} from the given PriorityClass name"
        )
        raise refuse(pod, reason)
    spec["priority"], spec["preemptionPolicy"] = value, policy


def keep_priority(pod: Object, old: Object) -> None:
    """An update that leaves out what admission computed keeps it."""
    for key in ("priority", "preemptionPolicy"):
        if pod["spec"].get(key) is None and old["spec"].get(key) is not None:
            pod["spec"][key] = old["spec"][key]


def admit_runtime_class(pod: Object, context: RequestContext) -> None:
    """Take overhead, node selector and tolerations over from the runtime class. Raises Forbidden."""
    spec = pod["spec"]
    name, overhead = spec.get("runtimeClassName"), spec.get("overhead")
    if not name:
        if overhead:
            detail = "Pod Overhead set without corresponding RuntimeClass defined Overhead"
            raise refuse(pod, f"pod rejected: {detail}")
        return
    runtime = context.lookup("node.k8s.io", "runtimeclasses", "", name)
    if runtime is None:
        raise refuse(pod, f'pod rejected: RuntimeClass "{name}" not found')
    fixed: Mapping[str, str] = (runtime.get("overhead") or {}).get("podFixed") or {}
    if overhead and not _same_amounts(overhead, fixed):
        detail = "Pod's Overhead doesn't match RuntimeClass's defined Overhead"
        raise refuse(pod, f"pod rejected: {detail}")
    if fixed:
        spec["overhead"] = dict(fixed)
    scheduling: Mapping[str, Any] = runtime.get("scheduling") or {}
    selector = dict(spec.get("nodeSelector") or {})
    for key, value in (scheduling.get("nodeSelector") or {}).items():
        if selector.setdefault(key, value) != value:
            raise refuse(
                pod,
                f"conflict: runtimeClass.scheduling.nodeSelector[{key}] = {value}; "
                f"pod.spec.nodeSelector[{key}] = {selector[key]}",
            )
    if selector:
        spec["nodeSelector"] = selector
    tolerations = list(spec.get("tolerations") or ())
    added = [dict(t) for t in scheduling.get("tolerations") or () if t not in tolerations]
    if added:
        spec["tolerations"] = tolerations + added


def _same_amounts(one: Mapping[str, str], other: Mapping[str, str]) -> bool:
    return one.keys() == other.keys() and all(parse_quantity(one[k]) == parse_quantity(other[k]) for k in one)


def admit_tolerations(pod: Object) -> None:
    """Let the pod stay five minutes on a node that became unready or unreachable, unless it says otherwise."""
    tolerations = pod["spec"].get("tolerations") or []
    missing = [taint for taint in _UNREADY_TAINTS if not _tolerates(tolerations, taint)]
    if missing:
        pod["spec"]["tolerations"] = [
            *tolerations,
            *(
                {"key": taint, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": _EVICTION_DELAY_S}
                for taint in missing
            ),
        ]


def _tolerates(tolerations: list[Object], taint: str) -> bool:
    return any(
        toleration.get("key", "") in (taint, "") and toleration.get("effect", "") in ("NoExecute", "")
        for toleration in tolerations
    )
