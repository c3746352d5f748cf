"""Names, labels and annotations of foreign objects, and those of them that mean something to KServe."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any, Final

from fairlead.api.kind import API_VERSION
from fairlead.api.model_service import MAX_NAME_LENGTH
from fairlead.serving.convert.reading import Reading, Reasons
from fairlead.serving.convert.report import BadManifest, Loss, Severity

Json = dict[str, Any]

OF_SERVER: Final = frozenset({
    "uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink", "deletionTimestamp",
    "deletionGracePeriodSeconds",
})  # fmt: skip
"""Fields of metadata that a server fills in: they say nothing of what is wanted."""
LAST_APPLIED: Final = "kubectl.kubernetes.io/last-applied-configuration"
KSERVE: Final = "serving.kserve.io"
_FIRST: Final = (
    "engine", "model", "runtime", "replicas", "scaling", "roles", "parallelism", "accelerators", "adapters",
)  # fmt: skip
_FOREIGN = re.compile(r"([\w.-]*kserve\.io|[\w.-]*knative\.dev|[\w.-]*kubeflow\.org)/")

_AUTOSCALER = (
    Severity.LOST,
    "Fairlead does not scale by itself yet: point an HPA or a ScaledObject at the ModelService, which has /scale",
)
ANNOTATIONS: Final[Reasons] = {
    f"{KSERVE}/deploymentMode": (
        Severity.CHANGED,
        "there is one mode: Fairlead keeps the pods, and requests come through its gateway",
    ),
    f"{KSERVE}/autoscalerClass": _AUTOSCALER,
    f"{KSERVE}/metrics": _AUTOSCALER,
    f"{KSERVE}/targetUtilizationPercentage": _AUTOSCALER,
    f"{KSERVE}/enable-prometheus-scraping": (
        Severity.CHANGED,
        "the gateway scrapes every engine, and says what it learns at its own /metrics",
    ),
    f"{KSERVE}/enable-metric-aggregation": (Severity.CHANGED, "the gateway's /metrics has all engines of a service"),
    f"{KSERVE}/enable-tag-routing": (Severity.LOST, "revisions have no addresses of their own: make a second service"),
    f"{KSERVE}/disable-localmodel": (Severity.NOTE, "a node's cache needs no opting out: see model.delivery"),
    f"{KSERVE}/model-based-routing-enabled": (Severity.NOTE, "the gateway always routes by the name of the model"),
    f"{KSERVE}/gke-accelerator": (
        Severity.LOST,
        "write nodeSelector cloud.google.com/gke-accelerator with this value",
    ),
    f"{KSERVE}/gpu-resource-types": (Severity.LOST, "write accelerators[].resource with the resource's name"),
    f"{KSERVE}/nodegroup": (Severity.LOST, "there are no groups of nodes: choose nodes with nodeSelector"),
}


@dataclass(frozen=True, slots=True)
class Metadata:
    """`foreign` are the annotations of KServe and Knative, which nobody has read yet; `annotations` the others."""

    name: str
    namespace: str
    labels: dict[str, str]
    annotations: dict[str, str]
    foreign: Reading

    def to_json(self, name: str = "") -> Json:
        """Metadata of an object that takes this one's place."""
        made: Json = {"name": name or self.name}
        for key, value in (
            ("namespace", self.namespace), ("labels", self.labels), ("annotations", self.annotations),
        ):  # fmt: skip
            if value:
                made[key] = value
        return made


def read_metadata(root: Reading) -> Metadata:
    """Also takes the fields of the object that only a server writes. Raises BadManifest."""
    for key in ("apiVersion", "kind", "status"):
        root.take(key)
    reading = root.child("metadata")
    for key in OF_SERVER:
        reading.take(key)
    name = reading.text("name")
    if not re.fullmatch(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?", name):
        why = "expected a name of lower-case letters, digits, - and ., as objects of a cluster have"
        raise BadManifest(reading.path("name"), name or reading.peek("generateName"), why)
    namespace = reading.text("namespace")
    if namespace and not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", namespace):
        raise BadManifest(reading.path("namespace"), namespace, "expected the name of a namespace")
    labels = reading.text_map("labels")
    annotations = reading.text_map("annotations")
    annotations.pop(LAST_APPLIED, None)
    foreign = {key: text for key, text in annotations.items() if _FOREIGN.match(key)}
    others = {key: text for key, text in annotations.items() if key not in foreign}
    return Metadata(name, namespace, labels, others, Reading(foreign, reading.path("annotations"), root.losses))


def short_name(name: str, most: int = MAX_NAME_LENGTH) -> str:
    """A DNS label; one that is too long, or has dots, ends with a hash of the whole."""
    plain = name.replace(".", "-")
    if plain == name and len(name) <= most:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:6]
    return f"{plain[: most - 7].rstrip('-')}-{digest}"


def service_metadata(root: Reading, metadata: Metadata) -> Json:
    """Metadata of the ModelService; says where its name has to be another."""
    name = short_name(metadata.name)
    if name != metadata.name:
        why = (
            f"pods are named after it, so it has at most {MAX_NAME_LENGTH} characters and no dots: it is {name} now, "
            "also for who refers to it"
        )
        root.losses.append(Loss("metadata.name", metadata.name, Severity.CHANGED, why))
    return metadata.to_json(name)


def model_name(name: str, field: str, losses: list[Loss]) -> str:
    """A name that requests give; says where it has to be another."""
    made = re.sub(r"[,~\s]", "-", name)[:253]
    if made != name:
        why = f"names of models have no commas, blanks or ~, and at most 253 characters: it is {made} now"
        losses.append(Loss(field, name, Severity.CHANGED, why))
    return made


def own(kind: str, metadata: Json, spec: Json) -> Json:
    """One of Fairlead's objects, its fields in the order in which people read them."""
    first = {key: spec[key] for key in _FIRST if key in spec}
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, "spec": first | spec}
