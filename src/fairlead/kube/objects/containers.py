"""Containers: what they run, their probes and resources, and the state a node reports (core/v1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fairlead.kube.objects.meta import Part
from fairlead.kube.objects.volumes import ObjectFieldSelector, ResourceFieldSelector


class ConfigMapKeySelector(Part, frozen=True, gc=False):
    key: str = ""
    name: str = ""
    optional: bool | None = None


class SecretKeySelector(Part, frozen=True, gc=False):
    key: str = ""
    name: str = ""
    optional: bool | None = None


class EnvVarSource(Part, frozen=True, gc=False):
    config_map_key_ref: ConfigMapKeySelector | None = None
    field_ref: ObjectFieldSelector | None = None
    resource_field_ref: ResourceFieldSelector | None = None
    secret_key_ref: SecretKeySelector | None = None


class EnvVar(Part, frozen=True, gc=False):
    name: str = ""
    value: str = ""
    value_from: EnvVarSource | None = None


class ConfigMapEnvSource(Part, frozen=True, gc=False):
    name: str = ""
    optional: bool | None = None


class SecretEnvSource(Part, frozen=True, gc=False):
    name: str = ""
    optional: bool | None = None


class EnvFromSource(Part, frozen=True, gc=False):
    config_map_ref: ConfigMapEnvSource | None = None
    prefix: str = ""
    secret_ref: SecretEnvSource | None = None


class ContainerPort(Part, frozen=True, gc=False):
    container_port: int = 0
    host_ip: str = ""
    host_port: int | None = None
    name: str = ""
    protocol: str = ""


class VolumeMount(Part, frozen=True, gc=False):
    mount_path: str = ""
    mount_propagation: str = ""
    name: str = ""
    read_only: bool | None = None
    recursive_read_only: str = ""
    sub_path: str = ""
    sub_path_expr: str = ""


class ContainerResourceClaim(Part, frozen=True, gc=False):
    name: str = ""
    request: str = ""


class ResourceRequirements(Part, frozen=True, gc=False):
    claims: Sequence[ContainerResourceClaim] = ()
    limits: Mapping[str, str] = {}
    requests: Mapping[str, str] = {}


class ExecAction(Part, frozen=True, gc=False):
    command: Sequence[str] = ()


class HTTPHeader(Part, frozen=True, gc=False):
    name: str = ""
    value: str = ""


class HTTPGetAction(Part, frozen=True, gc=False):
    host: str = ""
    http_headers: Sequence[HTTPHeader] = ()
    path: str = ""
    port: int | str | None = None
    scheme: str = ""


class TCPSocketAction(Part, frozen=True, gc=False):
    host: str = ""
    port: int | str | None = None


class GRPCAction(Part, frozen=True, gc=False):
    port: int = 0
    service: str = ""


class SleepAction(Part, frozen=True, gc=False):
    seconds: int = 0


class Probe(Part, frozen=True, gc=False):
    exec: ExecAction | None = None
    failure_threshold: int | None = None
    grpc: GRPCAction | None = None
    http_get: HTTPGetAction | None = None
    initial_delay_seconds: int | None = None
    period_seconds: int | None = None
    success_threshold: int | None = None
    tcp_socket: TCPSocketAction | None = None
    termination_grace_period_seconds: int | None = None
    timeout_seconds: int | None = None


class LifecycleHandler(Part, frozen=True, gc=False):
    exec: ExecAction | None = None
    http_get: HTTPGetAction | None = None
    sleep: SleepAction | None = None
    tcp_socket: TCPSocketAction | None = None


class Lifecycle(Part, frozen=True, gc=False):
    post_start: LifecycleHandler | None = None
    pre_stop: LifecycleHandler | None = None


class Capabilities(Part, frozen=True, gc=False):
    add: Sequence[str] = ()
    drop: Sequence[str] = ()


class SecurityContext(Part, frozen=True, gc=False):
    allow_privilege_escalation: bool | None = None
    capabilities: Capabilities | None = None
    privileged: bool | None = None
    read_only_root_filesystem: bool | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    run_as_user: int | None = None


class Container(Part, frozen=True, gc=False):
    args: Sequence[str] = ()
    command: Sequence[str] = ()
    env: Sequence[EnvVar] = ()
    env_from: Sequence[EnvFromSource] = ()
    image: str = ""
    image_pull_policy: str = ""
    lifecycle: Lifecycle | None = None
    liveness_probe: Probe | None = None
    name: str = ""
    ports: Sequence[ContainerPort] = ()
    readiness_probe: Probe | None = None
    resources: ResourceRequirements | None = None
    restart_policy: str = ""
    security_context: SecurityContext | None = None
    startup_probe: Probe | None = None
    stdin: bool | None = None
    stdin_once: bool | None = None
    termination_message_path: str = ""
    termination_message_policy: str = ""
    tty: bool | None = None
    volume_mounts: Sequence[VolumeMount] = ()
    working_dir: str = ""


class ContainerStateRunning(Part, frozen=True, gc=False):
    started_at: str | None = None


class ContainerStateWaiting(Part, frozen=True, gc=False):
    message: str = ""
    reason: str = ""


class ContainerStateTerminated(Part, frozen=True, gc=False):
    container_id: str = ""
    exit_code: int = 0
    finished_at: str | None = None
    message: str = ""
    reason: str = ""
    signal: int | None = None
    started_at: str | None = None


class ContainerState(Part, frozen=True, gc=False):
    running: ContainerStateRunning | None = None
    terminated: ContainerStateTerminated | None = None
    waiting: ContainerStateWaiting | None = None


class VolumeMountStatus(Part, frozen=True, gc=False):
    mount_path: str = ""
    name: str = ""
    read_only: bool | None = None
    recursive_read_only: str = ""


class ResourceHealth(Part, frozen=True, gc=False):
    health: str = ""
    """Healthy, Unhealthy or Unknown."""
    message: str = ""
    resource_id: str = ""


class ResourceStatus(Part, frozen=True, gc=False):
    name: str = ""
    resources: Sequence[ResourceHealth] = ()


class ContainerStatus(Part, frozen=True, gc=False):
    allocated_resources: Mapping[str, str] = {}
    allocated_resources_status: Sequence[ResourceStatus] = ()
    container_id: str = ""
    image: str = ""
    image_id: str = ""
    last_state: ContainerState | None = None
    name: str = ""
    ready: bool = False
    resources: ResourceRequirements | None = None
    restart_count: int = 0
    started: bool | None = None
    state: ContainerState | None = None
    volume_mounts: Sequence[VolumeMountStatus] = ()
