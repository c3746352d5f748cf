"""A foreign pod spec: the container that serves becomes the engine's, everything else is laid over our pods."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from fairlead.serving.convert.containers import (
    MODEL_FOLDER,
    Container,
    Wanted,
    engine_overlay,
    pod_text,
    read_container,
)
from fairlead.serving.convert.reading import Reading
from fairlead.serving.convert.report import BadManifest, Loss, Severity
from fairlead.serving.render.container import ENGINE

Json = dict[str, Any]

_PASSED: Final = (
    "activeDeadlineSeconds", "affinity", "automountServiceAccountToken", "dnsConfig", "dnsPolicy", "enableServiceLinks",
    "ephemeralContainers", "hostAliases", "hostIPC", "hostNetwork", "hostPID", "hostUsers", "hostname",
    "hostnameOverride", "imagePullSecrets", "initContainers", "nodeName", "os", "overhead", "preemptionPolicy",
    "priority", "readinessGates", "resourceClaims", "resources", "restartPolicy", "runtimeClassName",
    "schedulingGates", "securityContext", "serviceAccount", "serviceAccountName", "setHostnameAsFQDN",
    "shareProcessNamespace", "subdomain", "tolerations", "topologySpreadConstraints", "volumes",
)  # fmt: skip
"""Fields of core/v1 PodSpec that are laid over ours as they are."""


@dataclass(slots=True)
class Pod:
    """`workload` has the fields of a workload, nodeSelector among them, but for the overlay, which `overlay` makes."""

    container: Container
    workload: Json = field(default_factory=dict)
    spec: Json = field(default_factory=dict)
    grace_s: int | None = None
    priority_class: str = ""
    pull_secrets: list[str] = field(default_factory=list)
    account: str = ""

    def overlay(self, labels: Mapping[str, str], annotations: Mapping[str, str], *, whole: bool) -> Json:
        """What is laid over our pods. `whole`: with what is otherwise a field of the service."""
        spec = dict(self.spec)
        if whole and self.grace_s is not None:
            spec["terminationGracePeriodSeconds"] = self.grace_s
        if whole and self.priority_class:
            spec["priorityClassName"] = self.priority_class
        metadata = {"labels": dict(labels), "annotations": dict(annotations)}
        metadata = {name: pod_text(texts) for name, texts in metadata.items() if texts}
        return {**({"metadata": metadata} if metadata else {}), **({"spec": spec} if spec else {})}


def read_pod(reading: Reading, main: Sequence[str], wanted: Wanted, container: Reading | None = None) -> Pod:
    """`main` are names that the serving container may have; the only one there is may have any. `container` is it,
    where it stands outside of the pod. Raises BadManifest."""
    listed = reading.children("containers")
    serving = container if container is not None else _serving(listed, main)
    if serving is None:
        serving = Reading({}, f"{reading.field}.containers[{main[0]}]", reading.losses)
    else:
        serving.text("name")
    made = Pod(read_container(serving, wanted))
    made.workload = dict(made.container.workload)
    selector = reading.text_map("nodeSelector")
    if selector:
        made.workload["nodeSelector"] = selector
    made.grace_s = reading.integer("terminationGracePeriodSeconds", 0, 86_400)
    made.priority_class = reading.text("priorityClassName")
    made.account = str(reading.peek("serviceAccountName") or "")
    made.pull_secrets = _names(reading.peek("imagePullSecrets"))
    for key in _PASSED:
        if key in reading:
            made.spec[key] = pod_text(reading.take(key))
    if "schedulerName" in reading:
        why = "another scheduler then places the pods: gangs, queues and topology of Fairlead do not hold for them"
        made.spec["schedulerName"] = reading.peek("schedulerName")
        reading.say("schedulerName", Severity.ATTENTION, why)
    own = engine_overlay(made.container)
    others = _sidecars([each for each in listed if each is not serving and not _is_second(each, main, container)])
    if own or others:
        made.spec["containers"] = [*([own] if own else []), *others]
    return made


def _serving(listed: Sequence[Reading], main: Sequence[str]) -> Reading | None:
    for name in main:
        for each in listed:
            if each.peek("name") == name:
                return each
    return listed[0] if len(listed) == 1 else None


def _is_second(reading: Reading, main: Sequence[str], container: Reading | None) -> bool:
    """Whether it says more of the serving container, which stands elsewhere already; that is then said."""
    if container is None or reading.peek("name") not in main:
        return False
    value = {key: reading.take(key) for key in reading.keys()}  # noqa: SIM118 (those that have a value)
    why = f"the serving container is {container.field}: write it there"
    reading.losses.append(Loss(reading.field, value, Severity.LOST, why))
    return True


def _sidecars(listed: Sequence[Reading]) -> list[Json]:
    made = []
    for each in listed:
        raw: Json = {key: each.take(key) for key in each.keys()}  # noqa: SIM118 (those that have a value)
        name = raw.get("name")
        if not isinstance(name, str) or not name:
            raise BadManifest(each.path("name"), name, "expected the name of a container")
        if name == ENGINE:
            raw["name"] = f"{ENGINE}-sidecar"
            why = f"that is the name of Fairlead's own container: it is {raw['name']} now"
            each.losses.append(Loss(each.path("name"), name, Severity.CHANGED, why))
        if MODEL_FOLDER in json.dumps(raw, default=str):
            why = f"it speaks of {MODEL_FOLDER}, which is the engine's alone (${{model.path}}): mount the weights"
            each.losses.append(Loss(each.field, name, Severity.ATTENTION, why))
        made.append(pod_text(raw))
    return made


def _names(listed: Any) -> list[str]:
    if not isinstance(listed, list):
        return []
    return [each["name"] for each in listed if isinstance(each, dict) and isinstance(each.get("name"), str)]
