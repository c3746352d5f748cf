"""Versioned defaults of pods and pod templates (`v1` PodSpec)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any

from fairlead.embedded.apiserver.registry import Object
from fairlead.kube.quantity import Quantity, parse_quantity

_FILE_MODE = 0o644
_TOKEN_LIFETIME_S = 3600
_VOLUME_MODE_KINDS = ("secret", "configMap", "downwardAPI", "projected")

_PATH_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_image_reference = re.compile(
    rf"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]+)?/)?{_PATH_COMPONENT}(?:/{_PATH_COMPONENT})*"
    r"(?::(?P<tag>[\w][\w.-]{0,127}))?(?:@(?P<digest>[A-Za-z][\w+.-]*:[0-9a-fA-F]{32,}))?"
).fullmatch


@lru_cache(4096)
def pull_policy(image: str) -> str:
    """`Always` for the tag latest, written or implied, else `IfNotPresent`."""
    match = _image_reference(image)
    if match is None:
        return "IfNotPresent"
    tag, digest = match["tag"], match["digest"]
    return "Always" if tag == "latest" or not (tag or digest) else "IfNotPresent"


@lru_cache(8192)
def rounded_to_milli(text: str) -> str:
    """A resource amount rounded up to thousandths, as stored in requests and limits."""
    quantity = parse_quantity(text)
    thousandths = quantity.amount * 1000
    if thousandths == thousandths.to_integral_value():
        return text
    return str(Quantity(Decimal(quantity.milli_value) / 1000, quantity.format))


def default_amounts(amounts: dict[str, str] | None) -> None:
    """Round every amount of a resource list up to thousandths, in place."""
    if amounts:
        for name, text in amounts.items():
            rounded = rounded_to_milli(text)
            if rounded is not text:
                amounts[name] = rounded


def default_pod(pod: Object) -> None:
    """Defaults of a Pod: those of its spec, and some that templates do not get until a pod is made from them."""
    spec = pod.setdefault("spec", {})
    default_pod_spec(spec)
    spec.setdefault("enableServiceLinks", True)
    host_network = spec.get("hostNetwork")
    for group in ("containers", "initContainers"):
        for container in spec.get(group) or ():
            limits = container["resources"].get("limits")
            if limits is not None:
                requests = container["resources"].setdefault("requests", {})
                for name, text in limits.items():
                    requests.setdefault(name, text)
            if host_network:
                for port in container.get("ports") or ():
                    if not port.get("hostPort"):
                        port["hostPort"] = port.get("containerPort", 0)
    if spec.get("resources"):
        _default_pod_level_requests(spec)


def default_pod_template(template: Object) -> None:
    """Defaults of a PodTemplateSpec."""
    template.setdefault("metadata", {})
    default_pod_spec(template.setdefault("spec", {}))


def default_pod_spec(spec: Object) -> None:
    """Defaults of a PodSpec, in place."""
    if not spec.get("dnsPolicy"):
        spec["dnsPolicy"] = "ClusterFirst"
    if not spec.get("restartPolicy"):
        spec["restartPolicy"] = "Always"
    if spec.get("securityContext") is None:
        spec["securityContext"] = {}
    if spec.get("terminationGracePeriodSeconds") is None:
        spec["terminationGracePeriodSeconds"] = 30
    if not spec.get("schedulerName"):
        spec["schedulerName"] = "default-scheduler"
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    for group in ("containers", "initContainers", "ephemeralContainers"):
        for container in spec.get(group) or ():
            _default_container(container)
    for volume in spec.get("volumes") or ():
        _default_volume(volume)
    default_amounts(spec.get("overhead"))


def _default_pod_level_requests(spec: Object) -> None:
    resources = spec["resources"]
    for kind in ("requests", "limits"):
        default_amounts(resources.get(kind))
    limits = resources.get("limits")
    if not limits:
        return
    requests = dict(resources.get("requests") or {})
    for name, amount in _container_requests(spec).items():
        if name in ("cpu", "memory"):
            requests.setdefault(name, str(amount))
    for name, text in limits.items():
        requests.setdefault(name, text)
    if requests:
        resources["requests"] = requests


def _container_requests(spec: Object) -> dict[str, Quantity]:
    total: dict[str, Quantity] = {}
    for container in spec.get("containers") or ():
        for name, text in ((container.get("resources") or {}).get("requests") or {}).items():
            amount = parse_quantity(text)
            total[name] = total[name] + amount if name in total else amount
    return total


def _default_container(container: Object) -> None:
    if not container.get("imagePullPolicy"):
        container["imagePullPolicy"] = pull_policy(container.get("image", ""))
    if not container.get("terminationMessagePath"):
        container["terminationMessagePath"] = "/dev/termination-log"
    if not container.get("terminationMessagePolicy"):
        container["terminationMessagePolicy"] = "File"
    resources = container.get("resources")
    if resources is None:
        container["resources"] = {}
    else:
        default_amounts(resources.get("requests"))
        default_amounts(resources.get("limits"))
    for port in container.get("ports") or ():
        if not port.get("protocol"):
            port["protocol"] = "TCP"
    for variable in container.get("env") or ():
        if variable.get("valueFrom"):
            _default_field_source(variable["valueFrom"])
    _default_handlers(container)


def _default_handlers(container: Object) -> None:
    for kind in ("livenessProbe", "readinessProbe", "startupProbe"):
        probe = container.get(kind)
        if probe is not None:
            _default_probe(probe)
    for handler in (container.get("lifecycle") or {}).values():
        if isinstance(handler, dict) and handler.get("httpGet") is not None:
            _default_http_get(handler["httpGet"])


def _default_probe(probe: Object) -> None:
    for key, value in (("timeoutSeconds", 1), ("periodSeconds", 10), ("successThreshold", 1), ("failureThreshold", 3)):
        if not probe.get(key):
            probe[key] = value
    if probe.get("httpGet") is not None:
        _default_http_get(probe["httpGet"])
    if probe.get("grpc") is not None and probe["grpc"].get("service") is None:
        probe["grpc"]["service"] = ""


def _default_http_get(action: Object) -> None:
    if not action.get("path"):
        action["path"] = "/"
    if not action.get("scheme"):
        action["scheme"] = "HTTP"


def _default_field_source(source: Object) -> None:
    if source.get("fieldRef") is not None and not source["fieldRef"].get("apiVersion"):
        source["fieldRef"]["apiVersion"] = "v1"
    if source.get("resourceFieldRef") is not None and source["resourceFieldRef"].get("divisor") is None:
        source["resourceFieldRef"]["divisor"] = "0"
    if source.get("fileKeyRef") is not None:
        source["fileKeyRef"].setdefault("optional", False)


def _default_volume(volume: Object) -> None:
    kinds = [key for key, source in volume.items() if key != "name" and source is not None]
    if not kinds:
        volume["emptyDir"] = {}
    for kind in kinds:
        source = volume[kind]
        if kind in _VOLUME_MODE_KINDS and source.get("defaultMode") is None:
            source["defaultMode"] = _FILE_MODE
        default = _VOLUME_DEFAULTS.get(kind)
        if default is not None:
            default(source)


def _default_downward_items(source: Object) -> None:
    for item in source.get("items") or ():
        _default_field_source(item)


def _default_projected(source: Object) -> None:
    # The list is a required field of the API's type: it shows as null where it is absent.
    source.setdefault("sources", None)
    for projection in source["sources"] or ():
        token = projection.get("serviceAccountToken")
        if token is not None and token.get("expirationSeconds") is None:
            token["expirationSeconds"] = _TOKEN_LIFETIME_S
        if projection.get("downwardAPI") is not None:
            _default_downward_items(projection["downwardAPI"])


def _default_image_volume(source: Object) -> None:
    if not source.get("pullPolicy"):
        source["pullPolicy"] = pull_policy(source.get("reference", ""))


def _default_ephemeral(source: Object) -> None:
    template = source.get("volumeClaimTemplate")
    if template is not None:
        template.setdefault("metadata", {})
        template.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")
        template["spec"].setdefault("resources", {})


def _filler(values: Mapping[str, Any]) -> Any:
    def fill(source: Object) -> None:
        for key, value in values.items():
            if source.get(key) in (None, ""):
                source[key] = value

    return fill


_VOLUME_DEFAULTS = {
    "downwardAPI": _default_downward_items,
    "projected": _default_projected,
    "image": _default_image_volume,
    "ephemeral": _default_ephemeral,
    "hostPath": _filler({"type": ""}),
    "iscsi": _filler({"iscsiInterface": "default"}),
    "rbd": _filler({"pool": "rbd", "user": "admin", "keyring": "/etc/ceph/keyring"}),
    "azureDisk": _filler({"cachingMode": "ReadWrite", "kind": "Shared", "fsType": "ext4", "readOnly": False}),
    "scaleIO": _filler({"storageMode": "ThinProvisioned", "fsType": "xfs"}),
}
