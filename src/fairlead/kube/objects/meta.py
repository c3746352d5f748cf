"""What all Kubernetes objects share: metadata, owners, conditions and label selectors.

Objects are frozen: an informer hands the same instance to everyone, so a change is a new object
(`msgspec.structs.replace`). Attributes are the API's field names in snake case. A field that is absent on the wire has
its default here, and a default is not written; where absent and zero differ, and for times (RFC 3339 texts), the type
includes None.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from fairlead.clock import parse_time

_INITIALISMS: Final = {
    "api": "API", "cidr": "CIDR", "cidrs": "CIDRs", "fqdn": "FQDN", "id": "ID", "ip": "IP", "ipc": "IPC", "ips": "IPs",
    "os": "OS", "pid": "PID", "uid": "UID", "uuid": "UUID",
}  # fmt: skip


def wire_name(attribute: str) -> str:
    """The API's name of an attribute: `pod_ip` is `podIP`, `host_ips` is `hostIPs`, `continue_` is `continue`."""
    first, *rest = attribute.rstrip("_").split("_")
    return first + "".join(_INITIALISMS.get(word, word.capitalize()) for word in rest)


class Part(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, rename=wire_name):
    """Base of everything inside an object. Instances form trees, never cycles, so the collector need not track them."""


class OwnerReference(Part, frozen=True, gc=False):
    api_version: str = ""
    kind: str = ""
    name: str = ""
    uid: str = ""
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class ObjectMeta(Part, frozen=True, gc=False):
    """Identity, labels and life cycle of an object."""

    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: int | None = None
    labels: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}
    owner_references: Sequence[OwnerReference] = ()
    finalizers: Sequence[str] = ()

    @property
    def is_deleting(self) -> bool:
        return bool(self.deletion_timestamp)

    @property
    def created_s(self) -> float:
        """Creation time in seconds since the epoch. Raises ValueError for an object that was never stored."""
        return parse_time(self.creation_timestamp or "")

    @property
    def controller(self) -> OwnerReference | None:
        """The owner that manages this object, at most one."""
        return next((owner for owner in self.owner_references if owner.controller), None)


class KubernetesObject(Part, frozen=True, gc=False):
    """Base of every kind. Items of a list come without `api_version` and `kind`: the list says what they are."""

    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = ObjectMeta()


class Condition(Part, frozen=True, gc=False):
    type: str = ""
    status: str = ""
    observed_generation: int | None = None
    last_transition_time: str | None = None
    reason: str = ""
    message: str = ""


class LabelSelectorRequirement(Part, frozen=True, gc=False):
    key: str = ""
    operator: str = ""
    values: Sequence[str] = ()


class LabelSelector(Part, frozen=True, gc=False):
    """A label query; `fairlead.kube.selectors.from_label_selector` makes it match."""

    match_labels: Mapping[str, str] = {}
    match_expressions: Sequence[LabelSelectorRequirement] = ()


class ListMeta(Part, frozen=True, gc=False):
    resource_version: str = ""
    continue_: str = ""
    remaining_item_count: int | None = None


def find_condition(conditions: Iterable[Any], type: str) -> Any | None:
    """The condition of a type, or None: conditions of any kind have a `type`."""
    return next((condition for condition in conditions if condition.type == type), None)


def is_condition_true(conditions: Iterable[Any], type: str) -> bool:
    condition = find_condition(conditions, type)
    return condition is not None and condition.status == "True"
