"""Dynamic resource allocation (resource.k8s.io/v1): claims, classes and the devices that nodes offer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fairlead.kube.objects.meta import Condition, KubernetesObject, ObjectMeta, Part
from fairlead.kube.objects.placement import NodeSelector

DELETE_PROTECTION: Final = "resource.kubernetes.io/delete-protection"
"""The finalizer that a scheduler puts on a claim before it allocates it, so that the claim stays for as long as devices
are held. The claim controller takes it off with the allocation."""


class CELDeviceSelector(Part, frozen=True, gc=False):
    expression: str = ""


class DeviceSelector(Part, frozen=True, gc=False):
    cel: CELDeviceSelector | None = None


class DeviceAttribute(Part, frozen=True, gc=False):
    bool_: bool | None = None
    bools: Sequence[bool] = ()
    int_: int | None = None
    ints: Sequence[int] = ()
    string: str | None = None
    strings: Sequence[str] = ()
    version: str | None = None
    versions: Sequence[str] = ()


class CapacityRequestPolicyRange(Part, frozen=True, gc=False):
    max: str = ""
    min: str = ""
    step: str = ""


class CapacityRequestPolicy(Part, frozen=True, gc=False):
    default: str = ""
    valid_range: CapacityRequestPolicyRange | None = None
    valid_values: Sequence[str] = ()


class DeviceCapacity(Part, frozen=True, gc=False):
    request_policy: CapacityRequestPolicy | None = None
    value: str = ""


class Counter(Part, frozen=True, gc=False):
    value: str = ""


class CounterSet(Part, frozen=True, gc=False):
    counters: Mapping[str, Counter] = {}
    name: str = ""


class DeviceCounterConsumption(Part, frozen=True, gc=False):
    counter_set: str = ""
    counters: Mapping[str, Counter] = {}


class DeviceTaint(Part, frozen=True, gc=False):
    effect: str = ""
    key: str = ""
    time_added: str | None = None
    value: str = ""


class DeviceToleration(Part, frozen=True, gc=False):
    effect: str = ""
    key: str = ""
    operator: str = ""
    toleration_seconds: int | None = None
    value: str = ""


class CapacityRequirements(Part, frozen=True, gc=False):
    requests: Mapping[str, str] = {}


class OpaqueDeviceConfiguration(Part, frozen=True, gc=False):
    driver: str = ""
    parameters: Mapping[str, Any] = {}


class DeviceConstraint(Part, frozen=True, gc=False):
    distinct_attribute: str = ""
    match_attribute: str = ""
    requests: Sequence[str] = ()


class DeviceSubRequest(Part, frozen=True, gc=False):
    allocation_mode: str = ""
    capacity: CapacityRequirements | None = None
    count: int | None = None
    device_class_name: str = ""
    name: str = ""
    selectors: Sequence[DeviceSelector] = ()
    tolerations: Sequence[DeviceToleration] = ()


class ExactDeviceRequest(Part, frozen=True, gc=False):
    admin_access: bool | None = None
    allocation_mode: str = ""
    capacity: CapacityRequirements | None = None
    count: int | None = None
    device_class_name: str = ""
    selectors: Sequence[DeviceSelector] = ()
    tolerations: Sequence[DeviceToleration] = ()


class DeviceRequest(Part, frozen=True, gc=False):
    exactly: ExactDeviceRequest | None = None
    first_available: Sequence[DeviceSubRequest] = ()
    name: str = ""


class DeviceClaimConfiguration(Part, frozen=True, gc=False):
    opaque: OpaqueDeviceConfiguration | None = None
    requests: Sequence[str] = ()


class DeviceClaim(Part, frozen=True, gc=False):
    config: Sequence[DeviceClaimConfiguration] = ()
    constraints: Sequence[DeviceConstraint] = ()
    requests: Sequence[DeviceRequest] = ()


class ResourceClaimSpec(Part, frozen=True, gc=False):
    devices: DeviceClaim | None = None


class DeviceAllocationConfiguration(Part, frozen=True, gc=False):
    opaque: OpaqueDeviceConfiguration | None = None
    requests: Sequence[str] = ()
    source: str = ""


class DeviceRequestAllocationResult(Part, frozen=True, gc=False):
    admin_access: bool | None = None
    binding_conditions: Sequence[str] = ()
    binding_failure_conditions: Sequence[str] = ()
    consumed_capacity: Mapping[str, str] = {}
    device: str = ""
    driver: str = ""
    pool: str = ""
    request: str = ""
    share_id: str = ""
    tolerations: Sequence[DeviceToleration] = ()


class DeviceAllocationResult(Part, frozen=True, gc=False):
    config: Sequence[DeviceAllocationConfiguration] = ()
    results: Sequence[DeviceRequestAllocationResult] = ()


class AllocationResult(Part, frozen=True, gc=False):
    allocation_timestamp: str | None = None
    devices: DeviceAllocationResult | None = None
    node_selector: NodeSelector | None = None


class NetworkDeviceData(Part, frozen=True, gc=False):
    hardware_address: str = ""
    interface_name: str = ""
    ips: Sequence[str] = ()


class AllocatedDeviceStatus(Part, frozen=True, gc=False):
    conditions: Sequence[Condition] = ()
    data: Mapping[str, Any] = {}
    device: str = ""
    driver: str = ""
    network_data: NetworkDeviceData | None = None
    pool: str = ""
    share_id: str = ""


class ResourceClaimConsumerReference(Part, frozen=True, gc=False):
    api_group: str = ""
    name: str = ""
    resource: str = ""
    uid: str = ""


class ResourceClaimStatus(Part, frozen=True, gc=False):
    allocation: AllocationResult | None = None
    devices: Sequence[AllocatedDeviceStatus] = ()
    reserved_for: Sequence[ResourceClaimConsumerReference] = ()


class ResourceClaim(KubernetesObject, frozen=True, gc=False):
    spec: ResourceClaimSpec = ResourceClaimSpec()
    status: ResourceClaimStatus = ResourceClaimStatus()


class ResourceClaimTemplateSpec(Part, frozen=True, gc=False):
    metadata: ObjectMeta = ObjectMeta()
    spec: ResourceClaimSpec | None = None


class ResourceClaimTemplate(KubernetesObject, frozen=True, gc=False):
    spec: ResourceClaimTemplateSpec = ResourceClaimTemplateSpec()


class DeviceClassConfiguration(Part, frozen=True, gc=False):
    opaque: OpaqueDeviceConfiguration | None = None


class DeviceClassSpec(Part, frozen=True, gc=False):
    config: Sequence[DeviceClassConfiguration] = ()
    extended_resource_name: str = ""
    selectors: Sequence[DeviceSelector] = ()


class DeviceClass(KubernetesObject, frozen=True, gc=False):
    spec: DeviceClassSpec = DeviceClassSpec()


class Device(Part, frozen=True, gc=False):
    all_nodes: bool | None = None
    allow_multiple_allocations: bool | None = None
    attributes: Mapping[str, DeviceAttribute] = {}
    binding_conditions: Sequence[str] = ()
    binding_failure_conditions: Sequence[str] = ()
    binds_to_node: bool | None = None
    capacity: Mapping[str, DeviceCapacity] = {}
    consumes_counters: Sequence[DeviceCounterConsumption] = ()
    name: str = ""
    node_name: str = ""
    node_selector: NodeSelector | None = None
    taints: Sequence[DeviceTaint] = ()


class ResourcePool(Part, frozen=True, gc=False):
    generation: int = 0
    name: str = ""
    resource_slice_count: int = 0


class ResourceSliceSpec(Part, frozen=True, gc=False):
    all_nodes: bool | None = None
    devices: Sequence[Device] = ()
    driver: str = ""
    node_name: str = ""
    node_selector: NodeSelector | None = None
    per_device_node_selection: bool | None = None
    pool: ResourcePool | None = None
    shared_counters: Sequence[CounterSet] = ()


class ResourceSlice(KubernetesObject, frozen=True, gc=False):
    spec: ResourceSliceSpec = ResourceSliceSpec()


class DeviceTaintSelector(Part, frozen=True, gc=False):
    """Which devices a rule taints: all that match each field given."""

    device: str | None = None
    driver: str | None = None
    pool: str | None = None


class DeviceTaintRuleSpec(Part, frozen=True, gc=False):
    device_selector: DeviceTaintSelector | None = None
    taint: DeviceTaint = DeviceTaint()


class DeviceTaintRuleStatus(Part, frozen=True, gc=False):
    conditions: Sequence[Condition] = ()


class DeviceTaintRule(KubernetesObject, frozen=True, gc=False):
    spec: DeviceTaintRuleSpec = DeviceTaintRuleSpec()
    status: DeviceTaintRuleStatus = DeviceTaintRuleStatus()
