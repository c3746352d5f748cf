"""The Container Device Interface, specification 1.1.0: specs as values, their rules, files, cache and resolution."""

from fairlead.devices.cdi.annotations import add_request, annotation_key, annotation_value, requested_devices
from fairlead.devices.cdi.cache import DEFAULT_DIRS, DYNAMIC_DIR, STATIC_DIR, SpecCache
from fairlead.devices.cdi.edits import additional_gids, device_nodes, environment, hooks, merge, mounts, net_devices
from fairlead.devices.cdi.errors import (
    AnnotationError,
    CdiError,
    ContainerConfigError,
    DeviceNodesError,
    InvalidName,
    Problem,
    SpecError,
    SpecWriteError,
    Unresolved,
    UnresolvedDevices,
)
from fairlead.devices.cdi.index import Entry, Index, SpecFile
from fairlead.devices.cdi.names import (
    QualifiedName,
    is_qualified_name,
    parse_qualified_name,
    qualified_name,
    spec_name,
    transient_spec_name,
)
from fairlead.devices.cdi.nodes import complete_device_nodes
from fairlead.devices.cdi.oci import apply_to_oci
from fairlead.devices.cdi.read import read_spec
from fairlead.devices.cdi.resolve import merge_entries
from fairlead.devices.cdi.rules import HOOK_NAMES, find_problems, validate
from fairlead.devices.cdi.spec import (
    NO_EDITS,
    ContainerEdits,
    Device,
    DeviceNode,
    Hook,
    IntelRdt,
    Mount,
    NetDevice,
    Spec,
)
from fairlead.devices.cdi.versions import CURRENT, minimum_version
from fairlead.devices.cdi.write import remove_spec, write_spec

__all__ = [
    "CURRENT",
    "DEFAULT_DIRS",
    "DYNAMIC_DIR",
    "HOOK_NAMES",
    "NO_EDITS",
    "STATIC_DIR",
    "AnnotationError",
    "CdiError",
    "ContainerConfigError",
    "ContainerEdits",
    "Device",
    "DeviceNode",
    "DeviceNodesError",
    "Entry",
    "Hook",
    "Index",
    "IntelRdt",
    "InvalidName",
    "Mount",
    "NetDevice",
    "Problem",
    "QualifiedName",
    "Spec",
    "SpecCache",
    "SpecError",
    "SpecFile",
    "SpecWriteError",
    "Unresolved",
    "UnresolvedDevices",
    "add_request",
    "additional_gids",
    "annotation_key",
    "annotation_value",
    "apply_to_oci",
    "complete_device_nodes",
    "device_nodes",
    "environment",
    "find_problems",
    "hooks",
    "is_qualified_name",
    "merge",
    "merge_entries",
    "minimum_version",
    "mounts",
    "net_devices",
    "parse_qualified_name",
    "qualified_name",
    "read_spec",
    "remove_spec",
    "requested_devices",
    "spec_name",
    "transient_spec_name",
    "validate",
    "write_spec",
]
