"""Validation of probes and lifecycle hooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairlead.embedded.apiserver.invalid import forbidden, invalid, not_supported, required
from fairlead.embedded.apiserver.kinds.errors import Errors, add_each, check_not_negative
from fairlead.embedded.apiserver.kinds.names import http_header_name, port_name, port_number

_PROBE_NUMBERS = ("initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold", "failureThreshold")
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")


def validate_port_or_name(errors: Errors, port: int | str | None, path: str) -> None:
    """A port as number or as the name of a container port."""
    if isinstance(port, str):
        add_each(errors, path, port, port_name(port))
    else:
        number = port or 0
        add_each(errors, path, number, port_number(number))


def validate_probes(errors: Errors, container: Mapping[str, Any], grace_s: int | None, path: str) -> None:
    """Lifecycle hooks and the three probes of a container that may have them."""
    lifecycle = container.get("lifecycle")
    if lifecycle is not None:
        for hook in ("postStart", "preStop"):
            if lifecycle.get(hook) is not None:
                _validate_handler(errors, lifecycle[hook], grace_s, f"{path}.lifecycle.{hook}")
    for kind in _PROBES:
        probe = container.get(kind)
        if probe is not None:
            _validate_probe(errors, probe, grace_s, kind, f"{path}.{kind}")


def forbid_probes(errors: Errors, container: Mapping[str, Any], detail: str, path: str) -> None:
    """Init containers that run to their end have neither hooks nor probes."""
    for kind in ("lifecycle", *_PROBES):
        if container.get(kind) is not None:
            errors.append(forbidden(f"{path}.{kind}", detail))


def _validate_probe(errors: Errors, probe: Mapping[str, Any], grace_s: int | None, kind: str, path: str) -> None:
    _validate_handler(errors, probe, grace_s, path)
    for key in _PROBE_NUMBERS:
        check_not_negative(errors, probe.get(key), f"{path}.{key}")
    own_grace_s = probe.get("terminationGracePeriodSeconds")
    if own_grace_s is not None and own_grace_s <= 0:
        errors.append(invalid(f"{path}.terminationGracePeriodSeconds", own_grace_s, "must be greater than 0"))
    if kind == "readinessProbe":
        if own_grace_s is not None:
            detail = "must not be set for readinessProbes"
            errors.append(invalid(f"{path}.terminationGracePeriodSeconds", own_grace_s, detail))
    elif probe.get("successThreshold") != 1:
        errors.append(invalid(f"{path}.successThreshold", probe.get("successThreshold", 0), "must be 1"))


def _validate_handler(errors: Errors, handler: Mapping[str, Any], grace_s: int | None, path: str) -> None:
    found = False
    for kind in ("exec", "httpGet", "tcpSocket", "grpc", "sleep"):
        action = handler.get(kind)
        if action is None:
            continue
        if found:
            errors.append(forbidden(f"{path}.{kind}", "may not specify more than 1 handler type"))
            continue
        found = True
        _validate_action(errors, kind, action, grace_s, f"{path}.{kind}")
    if not found:
        errors.append(required(path, "must specify a handler type"))


def _validate_action(errors: Errors, kind: str, action: Mapping[str, Any], grace_s: int | None, path: str) -> None:
    if kind == "exec":
        if not action.get("command"):
            errors.append(required(f"{path}.command"))
    elif kind == "httpGet":
        _validate_http_get(errors, action, path)
    elif kind == "sleep":
        seconds = action.get("seconds", 0)
        if grace_s is not None and not 0 <= seconds <= grace_s:
            detail = f"must be non-negative and less than terminationGracePeriodSeconds ({grace_s})"
            errors.append(invalid(path, seconds, detail))
    else:
        validate_port_or_name(errors, action.get("port"), f"{path}.port")


def _validate_http_get(errors: Errors, action: Mapping[str, Any], path: str) -> None:
    if not action.get("path"):
        errors.append(required(f"{path}.path"))
    validate_port_or_name(errors, action.get("port"), f"{path}.port")
    scheme = action.get("scheme", "")
    if scheme not in ("HTTP", "HTTPS"):
        errors.append(not_supported(f"{path}.scheme", scheme, ("HTTP", "HTTPS")))
    for header in action.get("httpHeaders") or ():
        name = header.get("name", "")
        add_each(errors, f"{path}.httpHeaders", name, http_header_name(name))
