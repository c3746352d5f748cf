"""Validation of a pod's containers: regular, init and ephemeral ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fairlead.embedded.apiserver.invalid import duplicate, forbidden, invalid, not_found, not_supported, required
from fairlead.embedded.apiserver.kinds.errors import Errors, add_each, check_one_of
from fairlead.embedded.apiserver.kinds.names import dns_label, port_name, port_number
from fairlead.embedded.apiserver.kinds.pod_environment import validate_env, validate_env_from
from fairlead.embedded.apiserver.kinds.pod_mounts import Volumes, validate_devices, validate_mounts
from fairlead.embedded.apiserver.kinds.pod_probes import forbid_probes, validate_probes
from fairlead.embedded.apiserver.kinds.pod_security import validate_container_security
from fairlead.embedded.apiserver.kinds.resources import validate_requirements

Container = Mapping[str, Any]

_PROTOCOLS = ("SCTP", "TCP", "UDP")
_PULL_POLICIES = ("Always", "IfNotPresent", "Never")
_MESSAGE_POLICIES = ("File", "FallbackToLogsOnError")
_RESTART_POLICIES = ("Always", "Never", "OnFailure")
_RESIZE_POLICIES = ("NotRequired", "RestartContainer")
_EPHEMERAL_FORBIDDEN = ("ports", "livenessProbe", "readinessProbe", "startupProbe", "lifecycle", "resizePolicy")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a container's validation needs to know of its pod."""

    volumes: Volumes
    claim_names: frozenset[str]
    grace_s: int | None
    restart_policy: str
    host_users: bool


def validate_containers(errors: Errors, spec: Mapping[str, Any], pod: Surroundings, path: str) -> None:
    """All containers of a PodSpec; `path` is the spec's."""
    _validate_regular(errors, spec.get("containers") or (), pod, f"{path}.containers")
    if spec.get("initContainers"):
        _validate_init(errors, spec, pod, f"{path}.initContainers")
    if spec.get("ephemeralContainers"):
        _validate_ephemeral(errors, spec, pod, f"{path}.ephemeralContainers")


def _validate_regular(errors: Errors, containers: Sequence[Container], pod: Surroundings, path: str) -> None:
    if not containers:
        errors.append(required(path))
        return
    names: set[str] = set()
    for index, container in enumerate(containers):
        at, name = f"{path}[{index}]", container.get("name", "")
        _validate_common(errors, container, pod, at)
        if name in names:
            errors.append(duplicate(f"{at}.name", name))
        names.add(name)
        validate_probes(errors, container, pod.grace_s, at)
        _validate_restart(errors, container, at)
    _validate_host_ports(errors, containers, path)


def _validate_init(errors: Errors, spec: Mapping[str, Any], pod: Surroundings, path: str) -> None:
    names = {container.get("name", "") for container in spec.get("containers") or ()}
    for index, container in enumerate(spec["initContainers"]):
        at, name = f"{path}[{index}]", container.get("name", "")
        _validate_common(errors, container, pod, at)
        _validate_restart(errors, container, at)
        if name in names:
            errors.append(duplicate(f"{at}.name", name))
        elif name:
            names.add(name)
        _validate_host_ports(errors, (container,), path)
        if container.get("restartPolicy") == "Always":
            validate_probes(errors, container, pod.grace_s, at)
        else:
            forbid_probes(errors, container, "may not be set for init containers without restartPolicy=Always", at)
            if container.get("resizePolicy"):
                detail = "must not be set for init containers"
                errors.append(invalid(f"{at}.resizePolicy", container["resizePolicy"], detail))


def _validate_restart(errors: Errors, container: Container, path: str) -> None:
    policy, rules = container.get("restartPolicy"), container.get("restartPolicyRules") or ()
    if policy is not None and policy not in _RESTART_POLICIES:
        errors.append(not_supported(f"{path}.restartPolicy", policy, _RESTART_POLICIES))
    if rules and policy is None:
        detail = "must specify restartPolicy when restart rules are used"
        errors.append(required(f"{path}.restartPolicy", detail))
    for index, rule in enumerate(rules):
        at = f"{path}.restartPolicyRules[{index}]"
        check_one_of(errors, rule.get("action"), ("Restart", "RestartAllContainers"), f"{at}.action")
        codes = rule.get("exitCodes")
        if codes is None:
            errors.append(required(f"{at}.exitCodes", "must be specified"))
            continue
        check_one_of(errors, codes.get("operator"), ("In", "NotIn"), f"{at}.exitCodes.operator")
        if not codes.get("values"):
            errors.append(required(f"{at}.exitCodes.values", "must not be empty"))


def _validate_ephemeral(errors: Errors, spec: Mapping[str, Any], pod: Surroundings, path: str) -> None:
    others = {c.get("name", "") for group in ("containers", "initContainers") for c in spec.get(group) or ()}
    names = set(others)
    for index, container in enumerate(spec["ephemeralContainers"]):
        at, name = f"{path}[{index}]", container.get("name", "")
        _validate_common(errors, container, pod, at)
        validate_image_padding(errors, container, at)
        if name in names:
            errors.append(duplicate(f"{at}.name", name))
        names.add(name)
        target = container.get("targetContainerName")
        if target and target not in others:
            errors.append(not_found(f"{at}.targetContainerName", target))
        for key in (*_EPHEMERAL_FORBIDDEN, "resources"):
            if container.get(key):
                errors.append(forbidden(f"{at}.{key}", "cannot be set for an Ephemeral Container"))
        for place, mount in enumerate(container.get("volumeMounts") or ()):
            for key in ("subPath", "subPathExpr"):
                if mount.get(key):
                    where = f"{at}.volumeMounts[{place}].{key}"
                    errors.append(forbidden(where, "cannot be set for an Ephemeral Container"))


def validate_image_padding(errors: Errors, container: Container, path: str) -> None:
    """Pods (but not templates) refuse images with spaces around them."""
    image = container.get("image", "")
    if image != image.strip():
        errors.append(invalid(f"{path}.image", image, "must not have leading or trailing whitespace"))


def _validate_common(errors: Errors, container: Container, pod: Surroundings, path: str) -> None:
    name = container.get("name", "")
    if not name:
        errors.append(required(f"{path}.name"))
    else:
        messages = dns_label(name)
        if messages:
            add_each(errors, f"{path}.name", name, messages)
    if not container.get("image"):
        errors.append(required(f"{path}.image"))
    check_one_of(
        errors, container.get("terminationMessagePolicy"), _MESSAGE_POLICIES, f"{path}.terminationMessagePolicy"
    )
    if container.get("ports"):
        _validate_ports(errors, container["ports"], f"{path}.ports")
    if container.get("env"):
        validate_env(errors, container["env"], f"{path}.env")
    if container.get("envFrom"):
        validate_env_from(errors, container["envFrom"], f"{path}.envFrom")
    validate_mounts(errors, container, pod.volumes, f"{path}.volumeMounts")
    validate_devices(errors, container, pod.volumes, f"{path}.volumeDevices")
    check_one_of(errors, container.get("imagePullPolicy"), _PULL_POLICIES, f"{path}.imagePullPolicy")
    validate_requirements(errors, container.get("resources"), pod.claim_names, f"{path}.resources")
    if container.get("resizePolicy"):
        _validate_resize_policy(errors, container["resizePolicy"], pod.restart_policy, f"{path}.resizePolicy")
    validate_container_security(
        errors, container.get("securityContext"), f"{path}.securityContext", host_users=pod.host_users
    )


def _validate_ports(errors: Errors, ports: Sequence[Mapping[str, Any]], path: str) -> None:
    names: set[str] = set()
    for index, port in enumerate(ports):
        at, name = f"{path}[{index}]", port.get("name")
        if name:
            messages = port_name(name)
            add_each(errors, f"{at}.name", name, messages)
            if not messages and name in names:
                errors.append(duplicate(f"{at}.name", name))
            elif not messages:
                names.add(name)
        number = port.get("containerPort", 0)
        if number == 0:
            errors.append(required(f"{at}.containerPort"))
        else:
            add_each(errors, f"{at}.containerPort", number, port_number(number))
        host_port = port.get("hostPort", 0)
        if host_port:
            add_each(errors, f"{at}.hostPort", host_port, port_number(host_port))
        check_one_of(errors, port.get("protocol"), _PROTOCOLS, f"{at}.protocol")


def _validate_host_ports(errors: Errors, containers: Sequence[Container], path: str) -> None:
    taken: set[str] = set()
    for index, container in enumerate(containers):
        for place, port in enumerate(container.get("ports") or ()):
            if not port.get("hostPort"):
                continue
            shown = f"{port.get('protocol', '')}/{port.get('hostIP', '')}/{port['hostPort']}"
            if shown in taken:
                errors.append(duplicate(f"{path}[{index}].ports[{place}].hostPort", shown))
            taken.add(shown)


def _validate_resize_policy(
    errors: Errors, policies: Sequence[Mapping[str, Any]], restart_policy: str, path: str
) -> None:
    seen: set[str] = set()
    for index, entry in enumerate(policies):
        resource, policy = entry.get("resourceName", ""), entry.get("restartPolicy", "")
        if resource in seen:
            errors.append(duplicate(f"{path}[{index}]", resource))
        seen.add(resource)
        check_one_of(errors, resource, ("cpu", "memory"), path)
        check_one_of(errors, policy, _RESIZE_POLICIES, path)
        if restart_policy == "Never" and policy != "NotRequired":
            errors.append(invalid(path, policy, "must be 'NotRequired' when `restartPolicy` is 'Never'"))
