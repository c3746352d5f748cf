"""The kubelet's plugin messages, built when imported: no generated code, no compiler needed.

Protocol: k8s.io/kubelet `pkg/apis/{pluginregistration/v1, dra/v1, dra/v1beta1, dra-health}`, with upstream's package
names and field numbers. The descriptors live in a pool of their own, so that generated code of the same packages can
live in one process with these.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_SCALARS = {"bool": 8, "string": 9, "int64": 3}
"""Name in .proto -> FieldDescriptorProto.Type."""

_Messages = Mapping[str, str]

_REGISTRATION: _Messages = {
    "PluginInfo": "string type 1; string name 2; string endpoint 3; string* supported_versions 4",
    "RegistrationStatus": "bool plugin_registered 1; string error 2",
    "RegistrationStatusResponse": "",
    "InfoRequest": "",
}
_DRA_BEFORE_SHARES = "string* request_names 1; string pool_name 2; string device_name 3; string* cdi_device_ids 4"
_DRA: _Messages = {
    "Claim": "string namespace 1; string uid 2; string name 3",
    "Device": f"{_DRA_BEFORE_SHARES}; string? share_id 5",
    "NodePrepareResourcesRequest": "Claim* claims 1",
    "NodePrepareResourceResponse": "Device* devices 1; string error 2",
    "NodePrepareResourcesResponse": "{NodePrepareResourceResponse} claims 1",
    "NodeUnprepareResourcesRequest": "Claim* claims 1",
    "NodeUnprepareResourceResponse": "string error 1",
    "NodeUnprepareResourcesResponse": "{NodeUnprepareResourceResponse} claims 1",
}
_HEALTH: _Messages = {
    "NodeWatchResourcesRequest": "",
    "DeviceIdentifier": "string pool_name 1; string device_name 2",
    "DeviceHealth": "DeviceIdentifier device 1; HealthStatus health 2; int64 last_updated_time 3; "
    "int64 health_check_timeout_seconds 4; string message 5",
    "NodeWatchResourcesResponse": "DeviceHealth* devices 1",
}
_ENUMS: Mapping[str, tuple[str, ...]] = {"HealthStatus": ("UNKNOWN", "HEALTHY", "UNHEALTHY")}

PACKAGES: Mapping[str, _Messages] = {
    "pluginregistration": _REGISTRATION,
    "k8s.io.kubelet.pkg.apis.dra.v1": _DRA,
    "k8s.io.kubelet.pkg.apis.dra.v1beta1": {**_DRA, "Device": _DRA_BEFORE_SHARES},
    "v1": _HEALTH,
    "v1alpha1": _HEALTH,
}
"""Package -> message -> its fields "type name number"; `*` repeated, `?` optional, `{T}` a map from string to T."""

UNKNOWN, HEALTHY, UNHEALTHY = range(3)
"""Values of HealthStatus."""


def _build(package: str, messages: _Messages) -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name=f"fairlead/{package}.proto", package=package, syntax="proto3")
    if messages is _HEALTH:
        for name, values in _ENUMS.items():
            enum = file.enum_type.add(name=name)
            for number, value in enumerate(values):
                enum.value.add(name=value, number=number)
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for field in filter(None, (part.strip() for part in fields.split(";"))):
            _add_field(message, package, name, *field.split())
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return dict(message_factory.GetMessageClassesForFiles([file.name], pool))


def _add_field(
    message: descriptor_pb2.DescriptorProto, package: str, owner: str, kind: str, name: str, number: str
) -> None:
    field = message.field.add(name=name, number=int(number))
    field.label = field.LABEL_REPEATED if kind[-1] in "*}" else field.LABEL_OPTIONAL
    if kind[-1] == "?":
        field.proto3_optional = True
        field.oneof_index = len(message.oneof_decl)
        message.oneof_decl.add(name=f"_{name}")
    if kind[0] == "{":
        entry = message.nested_type.add(name=name.title().replace("_", "") + "Entry")
        entry.options.map_entry = True
        _add_field(entry, package, owner, "string", "key", "1")
        _add_field(entry, package, owner, kind[1:-1], "value", "2")
        kind = f"{owner}.{entry.name}"
    kind = kind.rstrip("*?")
    if kind in _SCALARS:
        field.type = _SCALARS[kind]  # type: ignore[assignment]
    else:
        field.type = field.TYPE_ENUM if kind in _ENUMS else field.TYPE_MESSAGE
        field.type_name = f".{package}.{kind}"


_CLASSES: dict[str, Any] = {}
for _package, _messages in PACKAGES.items():
    _CLASSES |= _build(_package, _messages)


def message(package: str, name: str) -> Any:
    """The class of a message, by its package and name."""
    return _CLASSES[f"{package}.{name}"]
