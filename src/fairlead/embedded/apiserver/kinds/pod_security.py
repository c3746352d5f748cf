"""Validation of security contexts, of pods and of containers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from fairlead.embedded.apiserver.invalid import duplicate, forbidden, invalid, not_supported, required, too_long
from fairlead.embedded.apiserver.kinds.errors import Errors, Layout, add_each, internal_form
from fairlead.embedded.apiserver.kinds.names import dns_subdomain, range_message
from fairlead.embedded.apiserver.kinds.pod_paths import validate_descending_path

_LARGEST_ID = 2**31 - 1
_ID_MESSAGE = range_message(0, _LARGEST_ID)
_PROFILE_TYPES = ("Localhost", "RuntimeDefault", "Unconfined")
_SYSCTL = r"([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_sysctl_matches = re.compile(_SYSCTL).fullmatch
_sysctl_namespaces = {"net.": "hostNetwork", "kernel.shm": "hostIPC", "kernel.msg": "hostIPC", "fs.mqueue.": "hostIPC"}
_windows_domain_matches = re.compile(
    r"[^\\/:*?\"<>|.][^\\/:*?\"<>|]{0,14}"
    r"|[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*"
).fullmatch

_SECURITY_CONTEXT: Layout = (
    ("Capabilities", "capabilities", None),
    ("Privileged", "privileged", None),
    ("SELinuxOptions", "seLinuxOptions", None),
    ("WindowsOptions", "windowsOptions", None),
    ("RunAsUser", "runAsUser", None),
    ("RunAsGroup", "runAsGroup", None),
    ("RunAsNonRoot", "runAsNonRoot", None),
    ("ReadOnlyRootFilesystem", "readOnlyRootFilesystem", None),
    ("AllowPrivilegeEscalation", "allowPrivilegeEscalation", None),
    ("ProcMount", "procMount", None),
    ("SeccompProfile", "seccompProfile", None),
    ("AppArmorProfile", "appArmorProfile", None),
)
_CAPABILITIES: Layout = (("Add", "add", None), ("Drop", "drop", None))
_SECCOMP_PROFILE: Layout = (("Type", "type", ""), ("LocalhostProfile", "localhostProfile", None))


def _validate_id(errors: Errors, value: int | None, path: str) -> None:
    if value is not None and not 0 <= value <= _LARGEST_ID:
        errors.append(invalid(path, value, _ID_MESSAGE))


def _validate_seccomp(errors: Errors, profile: Mapping[str, Any] | None, path: str) -> None:
    if profile is None:
        return
    kind, local = profile.get("type", ""), profile.get("localhostProfile")
    if not kind:
        errors.append(required(f"{path}.type", "type is required when seccompProfile is set"))
    elif kind not in _PROFILE_TYPES:
        errors.append(not_supported(f"{path}.type", kind, _PROFILE_TYPES))
    at = f"{path}.localhostProfile"
    if kind != "Localhost":
        if local is not None:
            shown = internal_form(profile, _SECCOMP_PROFILE)
            errors.append(invalid(at, shown, "can only be set when seccomp type is Localhost"))
    elif local is None:
        errors.append(required(at, "must be set when seccomp type is Localhost"))
    else:
        validate_descending_path(errors, local, at)


def _validate_app_armor(errors: Errors, profile: Mapping[str, Any] | None, path: str) -> None:
    if profile is None:
        return
    kind, local, at = profile.get("type", ""), profile.get("localhostProfile"), f"{path}.localhostProfile"
    if kind == "Localhost":
        if local is None or not local.strip():
            errors.append(required(at, "must be set when AppArmor type is Localhost"))
        elif local != local.strip():
            errors.append(invalid(at, local, "must not be padded with whitespace"))
        if local is not None and len(local) > 4095:
            errors.append(too_long(at, 4095))
    elif not kind:
        errors.append(required(f"{path}.type", "type is required when appArmorProfile is set"))
    elif kind not in _PROFILE_TYPES:
        errors.append(not_supported(f"{path}.type", kind, _PROFILE_TYPES))
    elif local is not None:
        errors.append(invalid(at, local, "can only be set when AppArmor type is Localhost"))


def _validate_windows(errors: Errors, options: Mapping[str, Any] | None, path: str) -> None:
    if options is None:
        return
    name, spec, user = (options.get(k) for k in ("gmsaCredentialSpecName", "gmsaCredentialSpec", "runAsUserName"))
    if name is not None:
        add_each(errors, f"{path}.gmsaCredentialSpecName", name, dns_subdomain(name))
    if spec is not None:
        if not spec:
            errors.append(invalid(f"{path}.gmsaCredentialSpec", spec, "gmsaCredentialSpec cannot be an empty string"))
        elif len(spec) > 64 * 1024:
            errors.append(invalid(f"{path}.gmsaCredentialSpec", spec, "gmsaCredentialSpec size must be under 64 KiB"))
    if user is not None:
        add_each(errors, f"{path}.runAsUserName", user, _windows_user_messages(user))


def _windows_user_messages(name: str) -> list[str]:
    if not name:
        return ["runAsUserName cannot be an empty string"]
    if any(ord(character) < 32 or ord(character) == 127 for character in name):
        return ["runAsUserName cannot contain control characters"]
    if name.count("\\") > 1:
        return ["runAsUserName cannot contain more than one backslash"]
    domain, backslash, user = name.rpartition("\\")
    messages: list[str] = []
    if len(domain) >= 256:
        messages.append("runAsUserName's Domain length must be under 256 characters")
    if backslash and not _windows_domain_matches(domain):
        messages.append("runAsUserName's Domain doesn't match the NetBios nor the DNS format")
    if not user:
        messages.append("runAsUserName's User cannot be empty")
    elif len(user) > 104:
        messages.append("runAsUserName's User length must not be longer than 104 characters")
    if user and not user.strip(". "):
        messages.append("runAsUserName's User cannot contain only periods or spaces")
    if any(character in '"/\\:;|=,+*?<>@[]' for character in user):
        messages.append("runAsUserName's User cannot contain the following characters: \"/\\:;|=,+*?<>@[]")
    return messages


def validate_container_security(
    errors: Errors, context: Mapping[str, Any] | None, path: str, *, host_users: bool
) -> None:
    """A container's `securityContext`; `host_users` says whether the pod shares the host's user namespace."""
    if not context:
        return
    _validate_id(errors, context.get("runAsUser"), f"{path}.runAsUser")
    _validate_id(errors, context.get("runAsGroup"), f"{path}.runAsGroup")
    mount = context.get("procMount")
    if mount is not None:
        if mount not in ("Default", "Unmasked"):
            errors.append(not_supported(f"{path}.procMount", mount, ("Default", "Unmasked")))
        if host_users and mount == "Unmasked":
            errors.append(invalid(f"{path}.procMount", mount, "`hostUsers` must be false to use `Unmasked`"))
    _validate_seccomp(errors, context.get("seccompProfile"), f"{path}.seccompProfile")
    if context.get("allowPrivilegeEscalation") is False:
        _validate_no_escalation(errors, context, path)
    _validate_windows(errors, context.get("windowsOptions"), f"{path}.windowsOptions")
    _validate_app_armor(errors, context.get("appArmorProfile"), f"{path}.appArmorProfile")


def _validate_no_escalation(errors: Errors, context: Mapping[str, Any], path: str) -> None:
    shown = internal_form(context, _SECURITY_CONTEXT)
    if shown["Capabilities"] is not None:
        shown["Capabilities"] = internal_form(shown["Capabilities"], _CAPABILITIES)
    if context.get("privileged"):
        detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
        errors.append(invalid(path, shown, detail))
    for capability in (context.get("capabilities") or {}).get("add") or ():
        if capability == "CAP_SYS_ADMIN":
            detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"
            errors.append(invalid(path, shown, detail))


def validate_pod_security(errors: Errors, spec: Mapping[str, Any], path: str) -> None:
    """A pod's `securityContext`; `path` is that of the pod's spec."""
    context = spec.get("securityContext")
    if not context:
        return
    at = f"{path}.securityContext"
    for key in ("fsGroup", "runAsUser", "runAsGroup"):
        _validate_id(errors, context.get(key), f"{at}.{key}")
    for index, group in enumerate(context.get("supplementalGroups") or ()):
        _validate_id(errors, group, f"{at}.supplementalGroups[{index}]")
    _validate_sysctls(errors, spec, context, f"{at}.sysctls")
    for key, supported in (("fsGroupChangePolicy", ("Always", "OnRootMismatch")),):
        if context.get(key) is not None and context[key] not in supported:
            errors.append(not_supported(f"{at}.{key}", context[key], supported))
    _validate_seccomp(errors, context.get("seccompProfile"), f"{at}.seccompProfile")
    _validate_windows(errors, context.get("windowsOptions"), f"{at}.windowsOptions")
    _validate_app_armor(errors, context.get("appArmorProfile"), f"{at}.appArmorProfile")
    for key, supported in (
        ("supplementalGroupsPolicy", ("Merge", "Strict")),
        ("seLinuxChangePolicy", ("MountOption", "Recursive")),
    ):
        if context.get(key) is not None and context[key] not in supported:
            errors.append(not_supported(f"{at}.{key}", context[key], supported))


def _validate_sysctls(errors: Errors, spec: Mapping[str, Any], context: Mapping[str, Any], path: str) -> None:
    seen: set[str] = set()
    for index, sysctl in enumerate(context.get("sysctls") or ()):
        name, at = sysctl.get("name", ""), f"{path}[{index}].name"
        if not name:
            errors.append(required(at))
        elif len(name) > 253 or not _sysctl_matches(name):
            errors.append(invalid(at, name, f"must have at most 253 characters and match regex ^{_SYSCTL}$"))
        elif name in seen:
            errors.append(duplicate(at, name))
        for prefix, shared in _sysctl_namespaces.items():
            if name.replace("/", ".").startswith(prefix) and spec.get(shared):
                errors.append(invalid(at, name, f"may not be specified when '{shared}' is true"))
        seen.add(name)


def validate_share_process(errors: Errors, spec: Mapping[str, Any], path: str) -> None:
    """A pod shares either its own or the host's process namespace."""
    if spec.get("shareProcessNamespace") and spec.get("hostPID"):
        detail = "ShareProcessNamespace and HostPID cannot both be enabled"
        errors.append(invalid(f"{path}.securityContext.shareProcessNamespace", True, detail))


def validate_host_users(errors: Errors, spec: Mapping[str, Any], path: str) -> None:
    """A pod with its own user namespace shares none of the host's."""
    if spec.get("hostUsers") is not False:
        return
    for key, shown in (("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")):
        if spec.get(key):
            errors.append(forbidden(f"{path}.{shown}", "when `hostUsers` is false"))
