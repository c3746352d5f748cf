"""How a model's files get into a pod: which delivery, and the volumes, init containers and path that it needs. Pure.

Fetch works through the node's cache (see `cache/`), a host folder that is at the same path in every container: the
sidecar `hold-model` keeps a lock for as long as the pod lives, so that nothing is evicted under a running engine, and
the init container `fetch-model` fills the cache and makes `pods/<pod uid>/<slot>` a link to the model. The engine is
told that path with `$(POD_UID)` in it, which the kubelet expands. No template differs from pod to pod.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from fairlead.api.model_service import Model
from fairlead.serving.names import MODEL_DIGEST_ANNOTATION

Json = dict[str, Any]
Delivery = Literal["None", "Local", "Claim", "Engine", "Fetch", "ImageVolume"]

MOUNTS: Final = "/mnt/fairlead"
IMAGE_MODELS: Final = "models"
"""Folder of an OCI image that holds the model's files, as KServe's model images have it."""
CREDENTIALS: Final = "/var/run/secrets/fairlead.dev"
POD_UID: Final = "POD_UID"
VERIFICATION: Final = "FAIRLEAD_VERIFICATION"
"""Environment variable of the fetch container: JSON of the service's `verification`."""
ANY: Final = "*"
"""Among the schemes that an engine loads itself: it takes whatever there is, as it needs no weights."""

_FETCH_CONTAINER = "fetch"
_HOLD_CONTAINER = "hold-model"
_CACHE_VOLUME = "model-cache"
_IMAGE_VOLUMES_SINCE = "Kubernetes 1.36, or 1.33 with the feature gate ImageVolume"
_FROM_HUB = frozenset({"hf"})
_LOADS_ITSELF: Final = {
    "vllm": _FROM_HUB,
    "sglang": _FROM_HUB,
    "tgi": _FROM_HUB,
    "llama-cpp": _FROM_HUB,
    "furiosa-llm": _FROM_HUB,
    "vllm-tpu": _FROM_HUB,
    "tensorrt-llm": _FROM_HUB,
    "simulated": frozenset({ANY}),
}
_FETCHED = frozenset({"hf", "s3", "gs", "http", "https", "oci", "pvc"})


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """What the cluster offers for delivery.

    `image_volumes`: the API server and the nodes serve `volumes[].image` (Kubernetes 1.36, or 1.33 with the beta on).
    `cache_path`: folder of every node for the cache; empty: each pod keeps its own in an emptyDir.
    `cache_capacity`: how much may be in it, as 500Gi; empty: what the file system has.
    `fetch_image`: image with the command `fairlead`; empty: there is none, and nothing can be fetched.
    `fetch_as_root`: false where pods are not containers and the node's agent is not root.
    """

    image_volumes: bool = False
    cache_path: str = "/var/lib/fairlead/models"
    cache_capacity: str = ""
    fetch_image: str = "fairlead"
    fetch_as_root: bool = True


@dataclass(frozen=True, slots=True)
class ModelMount:
    """What a pod needs for one model. `volumes`, `mounts` and `env` of several may repeat: by name, they are the same.

    `engine_source` is what the engine is told to load. `mounts`, `env` and `env_from` are the engine container's.
    `init_containers` come before all others, in this order.
    """

    engine_source: str
    delivery: Delivery
    volumes: tuple[Json, ...] = ()
    mounts: tuple[Json, ...] = ()
    env: tuple[Json, ...] = ()
    env_from: tuple[Json, ...] = ()
    init_containers: tuple[Json, ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()
    image_pull_secrets: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class Undeliverable(ValueError):
    """The model cannot reach the engine this way."""

    def __init__(self, field: str, value: str, remedy: str) -> None:
        super().__init__(f"{field} {value!r}: {remedy}")
        self.field, self.value, self.remedy = field, value, remedy


def loads_itself(runtime: str) -> frozenset[str]:
    """Schemes that the engine of a runtime downloads by itself."""
    return _LOADS_ITSELF.get(runtime, frozenset())


def scheme_of(source: str) -> str:
    """`hf` of hf://owner/name; `file` for paths; empty for no source."""
    if not source:
        return ""
    scheme, separator, _ = source.partition("://")
    return scheme if separator else "file"


def mount_model(
    model: Model,
    *,
    engine_takes: frozenset[str],
    facts: StoreFacts,
    mountable: bool | None = None,
    digest: str = "",
    exact_source: str = "",
    fetch_env: Sequence[Json] = (),
    slot: str = "model",
) -> ModelMount:
    """How one model is delivered.

    `mountable`: whether the OCI artifact is an image that a kubelet can mount; None where nobody has looked.
    `digest`: what the store calls the model, where it is known. `exact_source`: the source with its commit or digest,
    so that all replicas get the same. `fetch_env`: further environment of the fetch container (HF_ENDPOINT, proxies).
    `slot`: a name for it in the pod, for pods with several models.

    Raises Undeliverable.
    """
    scheme = scheme_of(model.source)
    delivery = _choose(model, scheme, engine_takes, facts, mountable)
    source = exact_source or model.source
    keys = " ".join(key for key in dict.fromkeys((digest, source, model.source)) if key)
    annotations = ((MODEL_DIGEST_ANNOTATION, keys),) if delivery in ("Fetch", "ImageVolume") else ()
    if delivery == "ImageVolume":
        return _image_volume(model, source, slot, annotations)
    if delivery == "Fetch":
        return _fetch(model, source, slot, facts, fetch_env, annotations)
    if delivery == "Claim":
        claim, _, path = model.source.removeprefix("pvc://").partition("/")
        mount_path = f"{MOUNTS}/{slot}"
        return ModelMount(
            f"{mount_path}/{path}".rstrip("/"),
            "Claim",
            volumes=(_claim_volume(slot, claim),),
            mounts=({"name": slot, "mountPath": mount_path, "readOnly": True},),
        )
    if delivery == "Engine" and model.pull_secret:
        token = {"secretKeyRef": {"name": model.pull_secret, "key": "token", "optional": True}}
        return ModelMount(
            source,
            "Engine",
            env=({"name": "HF_TOKEN", "valueFrom": token},) if scheme == "hf" else (),
            env_from=({"secretRef": {"name": model.pull_secret}},),
        )
    return ModelMount(source.removeprefix("file://") if scheme == "file" else source, delivery)


def hold_containers(facts: StoreFacts) -> tuple[Json, ...]:
    """The sidecar that keeps what a pod uses in the node's cache; none where each pod has a cache of its own."""
    if not facts.cache_path:
        return ()
    uid = {"name": POD_UID, "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}}
    hold: Json = {
        "name": _HOLD_CONTAINER,
        "image": facts.fetch_image,
        "restartPolicy": "Always",
        "command": ["fairlead", "model", "hold", "--cache", facts.cache_path],
        "env": [uid],
        "volumeMounts": [{"name": _CACHE_VOLUME, "mountPath": facts.cache_path}],
        "resources": {"requests": {"cpu": "1m", "memory": "24Mi"}, "limits": {"memory": "128Mi"}},
        "securityContext": _security(facts),
    }
    return (hold,)


def mount_models(models: Sequence[ModelMount]) -> ModelMount:
    """Several models of one pod as one: what they share is there once. `engine_source` is the first one's."""
    first = models[0]
    return ModelMount(
        first.engine_source,
        first.delivery,
        _unique([v for m in models for v in m.volumes], "name"),
        _unique([v for m in models for v in m.mounts], "mountPath"),
        _unique([v for m in models for v in m.env], "name"),
        tuple({json.dumps(v, sort_keys=True): v for m in models for v in m.env_from}.values()),
        _unique([v for m in models for v in m.init_containers], "name"),
        first.annotations,
        tuple(dict.fromkeys(name for m in models for name in m.image_pull_secrets)),
        tuple(dict.fromkeys(text for m in models for text in m.warnings)),
    )


def _choose(
    model: Model, scheme: str, engine_takes: frozenset[str], facts: StoreFacts, mountable: bool | None
) -> Delivery:
    by_engine = scheme in engine_takes or ANY in engine_takes
    must_verify = model.verification is not None and model.verification.mode == "Enforce"
    if not scheme:
        return "None"
    if must_verify and scheme != "oci":
        raise Undeliverable(
            "model.verification.mode", "Enforce", f"only oci:// models are signed, this one is {scheme}://: push it "
            "to a registry (fairlead model push), sign it there, or leave verification out",
        )  # fmt: skip
    if model.delivery == "Auto":
        if ANY in engine_takes and scheme not in ("file", "pvc") and not must_verify:
            # It needs no weights: nothing is fetched for nothing.
            return "Engine"
        return _automatic(scheme, by_engine, must_verify, facts, mountable)
    _refuse_impossible(model, scheme, by_engine, must_verify, facts, mountable)
    if scheme == "file":
        return "Local"
    return model.delivery


def _automatic(scheme: str, by_engine: bool, must_verify: bool, facts: StoreFacts, mountable: bool | None) -> Delivery:
    if scheme == "file":
        return "Local"
    if scheme == "pvc":
        return "Claim"
    # An image volume is pulled by the kubelet, which verifies no signatures.
    if scheme == "oci" and facts.image_volumes and mountable is not False and not must_verify:
        return "ImageVolume"
    if scheme in _FETCHED and facts.fetch_image:
        return "Fetch"
    if by_engine and not must_verify:
        return "Engine"
    raise Undeliverable(
        "model.source", f"{scheme}://…", "the engine cannot load it by itself, and nothing here fetches it: "
        "set the controller's fetch image, or use pvc:// or a path",
    )  # fmt: skip


def _refuse_impossible(
    model: Model, scheme: str, by_engine: bool, must_verify: bool, facts: StoreFacts, mountable: bool | None
) -> None:
    known = ", ".join(sorted(_FETCHED))
    objections: dict[str, tuple[tuple[bool, str], ...]] = {
        "Engine": (
            (not by_engine and scheme != "file", f"the engine cannot load {scheme}:// by itself; use Fetch"),
            (must_verify, "the engine verifies no signatures; use Fetch"),
        ),
        "ImageVolume": (
            (scheme != "oci", f"an image volume needs an oci:// source, this one is {scheme}://"),
            (not facts.image_volumes, f"this cluster serves no image volumes ({_IMAGE_VOLUMES_SINCE}); use Fetch"),
            (mountable is False, "the artifact is no image that a kubelet mounts; push it --as image, or use Fetch"),
            (must_verify, "the kubelet verifies no signatures; use Fetch"),
        ),
        "Fetch": (
            (scheme == "file", "a path is on the engine's own file system already; use Auto"),
            (scheme not in _FETCHED, f"nothing fetches {scheme}://; there are {known}"),
            (not facts.fetch_image, "the controller has no fetch image; set it, or use Engine"),
        ),
    }
    for is_so, remedy in objections[model.delivery]:
        if is_so:
            raise Undeliverable("model.delivery", model.delivery, remedy)


def _image_volume(model: Model, source: str, slot: str, annotations: tuple[tuple[str, str], ...]) -> ModelMount:
    reference = source.removeprefix("oci://")
    mount_path = f"{MOUNTS}/{slot}"
    is_floating = "@" not in reference and reference.rpartition("/")[2].partition(":")[2] in ("", "latest")
    warnings = []
    if model.pinned:
        warnings.append(
            "model.pinned has no effect on an image volume: the kubelet keeps images as it likes; use Fetch"
        )
    if model.verification is not None:
        warnings.append("model.verification is not looked at: the kubelet mounts the image and verifies no signatures")
    return ModelMount(
        f"{mount_path}/{IMAGE_MODELS}",
        "ImageVolume",
        volumes=(
            {
                "name": slot,
                "image": {"reference": reference, "pullPolicy": "Always" if is_floating else "IfNotPresent"},
            },
        ),
        mounts=({"name": slot, "mountPath": mount_path, "readOnly": True},),
        annotations=annotations,
        image_pull_secrets=(model.pull_secret,) if model.pull_secret else (),
        warnings=tuple(warnings),
    )


def _fetch(
    model: Model,
    source: str,
    slot: str,
    facts: StoreFacts,
    fetch_env: Sequence[Json],
    annotations: tuple[tuple[str, str], ...],
) -> ModelMount:
    shared = bool(facts.cache_path)
    path = facts.cache_path or f"{MOUNTS}/models"
    host = {"hostPath": {"path": path, "type": "DirectoryOrCreate"}}
    volumes: list[Json] = [{"name": _CACHE_VOLUME, **(host if shared else {"emptyDir": {}})}]
    mount = {"name": _CACHE_VOLUME, "mountPath": path}
    mounts: list[Json] = [mount]
    uid = {"name": POD_UID, "valueFrom": {"fieldRef": {"fieldPath": "metadata.uid"}}}
    env: list[Json] = [uid, *fetch_env]
    arguments = ["--cache", path, "--slot", slot]
    if facts.cache_capacity and shared:
        arguments += ["--capacity", facts.cache_capacity]
    if model.pinned:
        arguments.append("--pin")
    if model.pull_secret:
        volumes.append({"name": f"{slot}-credentials", "secret": {"secretName": model.pull_secret}})
        mounts.append({"name": f"{slot}-credentials", "mountPath": f"{CREDENTIALS}/{slot}", "readOnly": True})
        arguments += ["--credentials", f"{CREDENTIALS}/{slot}"]
    if model.verification is not None:
        env.append({"name": VERIFICATION, "value": msgspec.json.encode(model.verification).decode()})
    if scheme_of(source) == "pvc":
        claim, _, inner = source.removeprefix("pvc://").partition("/")
        volumes.append(_claim_volume(slot, claim))
        mounts.append({"name": slot, "mountPath": f"{MOUNTS}/{slot}", "readOnly": True})
        arguments += ["--name", source]
        source = f"file://{MOUNTS}/{slot}/{inner}".rstrip("/")
    fetch: Json = {
        "name": f"{_FETCH_CONTAINER}-{slot}",
        "image": facts.fetch_image,
        "command": ["fairlead", "model", "fetch", source, *arguments],
        "env": env,
        "volumeMounts": mounts,
        "resources": {"requests": {"cpu": "250m", "memory": "256Mi"}, "limits": {"memory": "2Gi"}},
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": _security(facts),
    }
    return ModelMount(
        f"{path}/pods/$({POD_UID})/{slot}",
        "Fetch",
        volumes=tuple(volumes),
        mounts=({**mount, "readOnly": True},),
        env=(uid,),
        init_containers=(*hold_containers(facts), fetch),
        annotations=annotations,
    )


def _claim_volume(slot: str, claim: str) -> Json:
    return {"name": slot, "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}


def _security(facts: StoreFacts) -> Json:
    """A host folder that the kubelet has made belongs to root; nothing else is needed of root."""
    common: Json = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    return {**common, "runAsUser": 0, "runAsNonRoot": False} if facts.fetch_as_root else common


def _unique(items: Sequence[Json], key: str) -> tuple[Json, ...]:
    return tuple({item[key]: item for item in items}.values())
