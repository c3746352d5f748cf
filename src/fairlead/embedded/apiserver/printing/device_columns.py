"""Columns of resource.k8s.io: claims and the devices for them."""

from __future__ import annotations

from collections.abc import Mapping

from fairlead.embedded.apiserver.printing.cells import AGE, NAME, computed, get, text
from fairlead.embedded.apiserver.printing.duration import age
from fairlead.embedded.apiserver.registry import Column, Object


def _claim_state(claim: Object) -> str:
    is_deleted = bool(get(claim, "metadata", "deletionTimestamp"))
    states = ["deleted"] if is_deleted else []
    if get(claim, "status", "allocation") is not None:
        states.append("allocated")
        if get(claim, "status", "reservedFor"):
            states.append("reserved")
    elif not is_deleted:
        states.append("pending")
    return ",".join(states)


def _taint_age(rule: Object, now: float) -> str:
    added = get(rule, "spec", "taint", "timeAdded")
    return age(added, now) if added else ""


# Clients compare the descriptions of these columns with a cluster's.
_NODE = (
    "NodeName identifies the node which provides the resources in this pool. A field selector can be used to list only "
    "ResourceSlice objects belonging to a certain node.\n\nThis field can be used to limit access from nodes to "
    "ResourceSlices with the same node name. It also indicates to autoscalers that adding new nodes of the same type "
    "as some old node might also make new resources available.\n\nExactly one of NodeName, NodeSelector, AllNodes, and "
    "PerDeviceNodeSelection must be set. This field is immutable."
)
_DRIVER = (
    "Driver identifies the DRA driver providing the capacity information. A field selector can be used to list only "
    "ResourceSlice objects with a certain driver name.\n\nMust be a DNS subdomain and should end with a DNS domain "
    "owned by the vendor of the driver. It should use only lower case characters. This field is immutable."
)
_POOL = (
    "Name is used to identify the pool. For node-local devices, this is often the node name, but this is not required."
    "\n\nIt must not be longer than 253 characters and must consist of one or more DNS sub-domains separated by "
    "slashes. This field is immutable."
)
_STATE = "A summary of the current state (allocated, pending, reserved, etc.)."
_EFFECT = (
    "The effect of the taint on claims that do not tolerate the taint and through such claims on the pods using them."
    "\n\nValid effects are None, NoSchedule and NoExecute. PreferNoSchedule as used for nodes is not valid here. More "
    "effects may get added in the future. Consumers must treat unknown effects like None."
)
_TIME_ADDED = (
    "TimeAdded represents the time at which the taint was added or (only in a DeviceTaintRule) the effect was "
    "modified. Added automatically during create or update if not set.\n\nIn addition, in a DeviceTaintRule a value "
    "provided during an update gets replaced with the current time if the provided value is the same as the old one "
    "and the new effect is different. Changing the key and/or value while keeping the effect unchanged is possible and "
    "does not update the time stamp because the eviction which uses it is either already started (NoExecute) or not "
    "started yet (NoEffect, NoSchedule)."
)
_GROUP = "resource.k8s.io"

COLUMNS: Mapping[tuple[str, str], tuple[Column, ...]] = {
    (_GROUP, "DeviceClass"): (NAME, AGE),
    (_GROUP, "DeviceTaintRule"): (
        NAME,
        text("Key", "The taint key to be applied to a device. Must be a label name.", "spec", "taint", "key"),
        text(
            "Value", "The taint value corresponding to the taint key. Must be a label value.", "spec", "taint", "value"
        ),
        text("Effect", _EFFECT, "spec", "taint", "effect"),
        Column("TimeAdded", "string", _TIME_ADDED, _taint_age),
        AGE,
    ),
    (_GROUP, "ResourceClaim"): (NAME, computed("State", _STATE, _claim_state), AGE),
    (_GROUP, "ResourceClaimTemplate"): (NAME, AGE),
    (_GROUP, "ResourceSlice"): (
        NAME,
        text("Node", _NODE, "spec", "nodeName"),
        text("Driver", _DRIVER, "spec", "driver"),
        text("Pool", _POOL, "spec", "pool", "name"),
        AGE,
    ),
}
