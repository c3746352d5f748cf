"""Columns of resource.k8s.io: claims and the devices for them."""

from __future__ import annotations

from collections.abc import Mapping

from fairlead.embedded.apiserver.printing.cells import AGE, NAME, computed, get, text
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


# Clients compare the descriptions of the slice's columns with a cluster's.
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
_GROUP = "resource.k8s.io"

COLUMNS: Mapping[tuple[str, str], tuple[Column, ...]] = {
    (_GROUP, "DeviceClass"): (NAME, AGE),
    (_GROUP, "DeviceTaintRule"): (NAME, AGE),
    (_GROUP, "ResourceClaim"): (NAME, computed("State", "Where the claim stands.", _claim_state), AGE),
    (_GROUP, "ResourceClaimTemplate"): (NAME, AGE),
    (_GROUP, "ResourceSlice"): (
        NAME,
        text("Node", _NODE, "spec", "nodeName"),
        text("Driver", _DRIVER, "spec", "driver"),
        text("Pool", _POOL, "spec", "pool", "name"),
        AGE,
    ),
}
