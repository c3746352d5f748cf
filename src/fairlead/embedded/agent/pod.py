"""The part of `core/v1` Pod that a node acts on, typed. Names and defaults are the API's; other fields are ignored."""

from __future__ import annotations

from typing import Any

import msgspec


class _Struct(msgspec.Struct, rename="camel", omit_defaults=True):
    pass


class KeyRef(_Struct):
    key: str
    name: str = ""
    optional: bool = False


class FieldRef(_Struct):
    field_path: str


class ResourceFieldRef(_Struct):
    resource: str
    container_name: str = ""
    divisor: str | int | float = "0"


class EnvVarSource(_Struct):
    field_ref: FieldRef | None = None
    resource_field_ref: ResourceFieldRef | None = None
    config_map_key_ref: KeyRef | None = None
    secret_key_ref: KeyRef | None = None


class EnvVar(_Struct):
    name: str
    value: str = ""
    value_from: EnvVarSource | None = None


class ObjectRef(_Struct):
    name: str = ""
    optional: bool = False


class EnvFromSource(_Struct):
    prefix: str = ""
    config_map_ref: ObjectRef | None = None
    secret_ref: ObjectRef | None = None


class HttpHeader(_Struct):
    name: str
    value: str = ""


class HttpGet(_Struct):
    port: int | str
    path: str = "/"
    host: str = ""
    scheme: str = "HTTP"
    http_headers: tuple[HttpHeader, ...] = ()


class TcpSocket(_Struct):
    port: int | str
    host: str = ""


class Exec(_Struct):
    command: tuple[str, ...] = ()


class Grpc(_Struct):
    port: int
    service: str | None = None


class Sleep(_Struct):
    seconds: int


class Handler(_Struct):
    """A lifecycle hook's action."""

    exec: Exec | None = None
    http_get: HttpGet | None = None
    tcp_socket: TcpSocket | None = None
    sleep: Sleep | None = None


class Probe(_Struct):
    """Times in seconds, as the API defaults them."""

    exec: Exec | None = None
    http_get: HttpGet | None = None
    tcp_socket: TcpSocket | None = None
    grpc: Grpc | None = None
    initial_delay_seconds: int = 0
    timeout_seconds: int = 1
    period_seconds: int = 10
    success_threshold: int = 1
    failure_threshold: int = 3
    termination_grace_period_seconds: int | None = None


class Lifecycle(_Struct):
    post_start: Handler | None = None
    pre_stop: Handler | None = None
    stop_signal: str | None = None


class ResourceClaimUse(_Struct):
    name: str
    request: str = ""


class Resources(_Struct):
    limits: dict[str, str | int | float] = {}
    requests: dict[str, str | int | float] = {}
    claims: tuple[ResourceClaimUse, ...] = ()


class VolumeMount(_Struct):
    name: str
    mount_path: str
    sub_path: str = ""
    sub_path_expr: str = ""
    read_only: bool = False


class ContainerPort(_Struct):
    container_port: int
    name: str = ""
    protocol: str = "TCP"


class SecurityContext(_Struct):
    """Of a pod or a container; a container's own values win."""

    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    supplemental_groups: tuple[int, ...] = ()
    fs_group: int | None = None
    read_only_root_filesystem: bool | None = None


class ContainerSpec(_Struct):
    name: str
    image: str = ""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    ports: tuple[ContainerPort, ...] = ()
    env_from: tuple[EnvFromSource, ...] = ()
    env: tuple[EnvVar, ...] = ()
    resources: Resources = msgspec.field(default_factory=Resources)
    volume_mounts: tuple[VolumeMount, ...] = ()
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None
    startup_probe: Probe | None = None
    lifecycle: Lifecycle = msgspec.field(default_factory=Lifecycle)
    termination_message_path: str = "/dev/termination-log"
    termination_message_policy: str = "File"
    image_pull_policy: str = ""
    security_context: SecurityContext = msgspec.field(default_factory=SecurityContext)
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    restart_policy: str | None = None


class KeyToPath(_Struct):
    key: str
    path: str
    mode: int | None = None


class ConfigMapVolume(_Struct):
    name: str = ""
    items: tuple[KeyToPath, ...] = ()
    default_mode: int | None = None
    optional: bool = False


class SecretVolume(_Struct):
    """`secretName` in a volume, `name` in a projection."""

    secret_name: str = ""
    name: str = ""
    items: tuple[KeyToPath, ...] = ()
    default_mode: int | None = None
    optional: bool = False


class DownwardFile(_Struct):
    path: str
    field_ref: FieldRef | None = None
    resource_field_ref: ResourceFieldRef | None = None
    mode: int | None = None


class DownwardVolume(_Struct):
    items: tuple[DownwardFile, ...] = ()
    default_mode: int | None = None


class TokenProjection(_Struct):
    path: str
    audience: str = ""
    expiration_seconds: int = 3600


class ProjectionSource(_Struct):
    config_map: ConfigMapVolume | None = None
    secret: SecretVolume | None = None
    downward_api: DownwardVolume | None = msgspec.field(default=None, name="downwardAPI")
    service_account_token: TokenProjection | None = None


class ProjectedVolume(_Struct):
    sources: tuple[ProjectionSource, ...] = ()
    default_mode: int | None = None


class EmptyDirVolume(_Struct):
    medium: str = ""
    size_limit: str | int | float | None = None


class HostPathVolume(_Struct):
    path: str
    type: str = ""


class ImageVolume(_Struct):
    reference: str = ""
    pull_policy: str = ""


class LocalReference(_Struct):
    """Names an object of the pod's namespace."""

    name: str = ""


class Volume(_Struct):
    name: str
    empty_dir: EmptyDirVolume | None = None
    config_map: ConfigMapVolume | None = None
    secret: SecretVolume | None = None
    downward_api: DownwardVolume | None = msgspec.field(default=None, name="downwardAPI")
    projected: ProjectedVolume | None = None
    host_path: HostPathVolume | None = None
    image: ImageVolume | None = None


class PodResourceClaim(_Struct):
    name: str
    resource_claim_name: str | None = None
    resource_claim_template_name: str | None = None


class SchedulingGroup(_Struct):
    pod_group_name: str = ""


class DnsOption(_Struct):
    name: str = ""
    value: str | None = None


class DnsConfig(_Struct):
    """Laid over what the policy gives: servers and searches are added, options replaced by name."""

    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[DnsOption, ...] = ()


class HostAlias(_Struct):
    ip: str
    hostnames: tuple[str, ...] = ()


class ReadinessGate(_Struct):
    condition_type: str


class PodSpec(_Struct):
    containers: tuple[ContainerSpec, ...] = ()
    init_containers: tuple[ContainerSpec, ...] = ()
    volumes: tuple[Volume, ...] = ()
    image_pull_secrets: tuple[LocalReference, ...] = ()
    restart_policy: str = "Always"
    termination_grace_period_seconds: int = 30
    active_deadline_seconds: int | None = None
    node_name: str = ""
    node_selector: dict[str, str] = {}
    service_account_name: str = ""
    hostname: str = ""
    subdomain: str = ""
    host_network: bool = False
    host_aliases: tuple[HostAlias, ...] = ()
    dns_policy: str = "ClusterFirst"
    dns_config: DnsConfig | None = None
    enable_service_links: bool = True
    security_context: SecurityContext = msgspec.field(default_factory=SecurityContext)
    readiness_gates: tuple[ReadinessGate, ...] = ()
    resource_claims: tuple[PodResourceClaim, ...] = ()
    scheduling_group: SchedulingGroup = msgspec.field(default_factory=SchedulingGroup)


class OwnerReference(_Struct):
    kind: str = ""
    name: str = ""
    uid: str = ""


class Metadata(_Struct):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: int | None = None
    creation_timestamp: str | None = None
    owner_references: tuple[OwnerReference, ...] = ()


class Pod(_Struct):
    """`status` stays as JSON: the node owns most of it and must keep what others wrote."""

    metadata: Metadata
    spec: PodSpec
    status: dict[str, Any] = {}

    @property
    def full_name(self) -> str:
        """As kubelet messages name a pod."""
        return f"{self.metadata.name}_{self.metadata.namespace}({self.metadata.uid})"

    def containers(self) -> tuple[ContainerSpec, ...]:
        """Init containers first, in starting order."""
        return (*self.spec.init_containers, *self.spec.containers)


def decode_pod(value: Any) -> Pod:
    """A pod from decoded JSON. Raises msgspec.ValidationError with the path of what is wrong."""
    return msgspec.convert(_without_nulls(value), Pod)


def is_sidecar(container: ContainerSpec) -> bool:
    """For an init container: whether it keeps running beside the others."""
    return container.restart_policy == "Always"


def _without_nulls(value: Any) -> Any:
    # The API treats an explicit null as absent.
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value
