"""What the API server serves: one `ResourceType` per group, version and resource, built in or from a CRD.

A `ResourceType` is data plus the pure functions that make its kind behave (a `Strategy`). The request handlers know no
kind by name: what differs between kinds is here or in `kinds/`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fairlead.embedded.apiserver.invalid import FieldError
from fairlead.embedded.apiserver.schema.node import Schema

Object = dict[str, Any]
"""A Kubernetes object as decoded JSON."""


@dataclass(frozen=True, slots=True)
class RequestContext:
    """What a strategy may know of the request: the namespace, the field manager, who asks, and the time (RFC 3339)."""

    namespace: str
    now: str
    user: str = "system:admin"
    dry_run: bool = False
    lookup: Callable[[str, str, str, str], Object | None] = lambda group, resource, namespace, name: None
    """Another stored object by group, resource, namespace ("" for cluster scope) and name; None where there is none."""
    lookup_all: Callable[[str, str], Sequence[Object]] = lambda group, resource: ()
    """All stored objects of a small resource, by its group and name; they are not to be changed."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column of server-side printing (`meta.k8s.io/v1` Table). `cell` makes the value from object and time."""

    name: str
    type: str
    description: str
    cell: Callable[[Object, float], Any]
    format: str = ""
    priority: int = 0


class Strategy:
    """How a kind behaves. The base class is right for a kind that has a schema and nothing special.

    All methods are pure but for mutating the new object in place where they say so; `old` is never mutated.
    Validation returns every error, in the order that the Kubernetes API server would list them.
    """

    orphans_by_default: bool = False
    """Whether a deletion that does not say what becomes of the dependents leaves them."""
    deletion_warning: str = ""
    """What a client hears that deletes without saying what becomes of the dependents."""

    def restore(self, stored: Iterable[Object]) -> None:
        """Rebuild what a kind remembers of all its objects (allocations), once before the server answers."""

    def default(self, obj: Object) -> None:
        """Fill versioned defaults in place (what a plain schema default cannot say)."""

    def default_times(self, obj: Object, context: RequestContext) -> None:
        """Defaults that are the present time, in place; like other defaults they belong to whoever wrote the object."""

    def admit(self, obj: Object, old: Object | None, context: RequestContext) -> None:
        """What built-in admission plugins change or refuse (service account, priority class, …). May raise ApiError."""

    def prepare_create(self, obj: Object, context: RequestContext) -> None:
        """Reset what clients may not set on create (status …), in place."""

    def prepare_update(self, new: Object, old: Object, context: RequestContext) -> None:
        """Reset what clients may not change on update (status …), in place. `metadata.generation` is handled by
        `generation_fields`."""

    def prepare_status_update(self, new: Object, old: Object, context: RequestContext) -> None:
        """Make a status update touch only the status, in place."""
        status = new.get("status")
        metadata = new["metadata"]
        kept = {k: v for k, v in old.items() if k not in ("metadata", "status")}
        for key in [k for k in new if k not in ("metadata", "status")]:
            del new[key]
        new.update(kept)
        new["metadata"] = metadata
        if status is None:
            new.pop("status", None)
        else:
            new["status"] = status

    def validate_create(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        return ()

    def validate_update(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        return ()

    def validate_status_update(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        return ()

    def warnings(self, obj: Object, old: Object | None) -> Sequence[str]:
        """Texts for `Warning: 299` response headers."""
        return ()

    def deletion_grace_s(self, obj: Object, requested_s: int | None) -> int | None:
        """Seconds that a deleted object stays, or None for a kind that knows no graceful deletion. `requested_s` is the
        client's wish."""
        return None

    def check_deletion(self, obj: Object, uid: str | None, version: str | None) -> None:
        """Refuse a deletion for reasons of the kind (system namespaces). `uid` and `version` are the preconditions.
        May raise ApiError."""

    def begin_deletion(self, obj: Object, context: RequestContext) -> bool:
        """For kinds with a deletion of their own (namespaces): mark the object in place and return True while it has to
        stay. Called before the general rules."""
        return False

    def is_deletable(self, obj: Object) -> bool:
        """Whether an object under deletion without finalizers may go at last."""
        return True

    def generation_changed(self, new: Object, old: Object) -> bool:
        """Whether `metadata.generation` grows: by default, when anything but metadata and status differs."""
        for key in new.keys() | old.keys():
            if key not in ("metadata", "status") and new.get(key) != old.get(key):
                return True
        return False


@dataclass(frozen=True, slots=True)
class ScaleMapping:
    """JSON paths of the `scale` subresource, as in a CRD (`.spec.replicas`)."""

    spec_replicas_path: str
    status_replicas_path: str
    label_selector_path: str | None = None


@dataclass(slots=True)
class ResourceType:
    """One served resource in one version."""

    group: str
    version: str
    resource: str
    kind: str
    namespaced: bool
    schema: Schema
    singular: str = ""
    list_kind: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
    strategy: Strategy = field(default_factory=Strategy)
    has_status: bool = False
    has_generation: bool = False
    scale: ScaleMapping | None = None
    subresources: tuple[str, ...] = ()
    """Further subresources served by dedicated handlers: "binding", "eviction", "log", "exec", …"""
    columns: tuple[Column, ...] = ()
    selectable_fields: dict[str, Callable[[Object], str]] = field(default_factory=dict)
    """Field selector path -> how to read it. `metadata.name` and `metadata.namespace` are always there."""
    allow_unconditional_update: bool = True
    allow_create_on_update: bool = False
    storage_version: str = ""
    """Version in which objects are stored; equal to `version` but for further versions of the same resource."""
    is_custom: bool = False
    is_terminating: bool = False
    """Whether its definition is being deleted: then nothing new is created."""
    reset_fields: tuple[tuple[str, ...], ...] = ()
    """Field paths that server-side apply on the main resource does not own (`("status",)` …)."""
    returns_deleted: bool = False
    """Whether a completed deletion answers with the object instead of a Status."""
    to_storage: Callable[[Object], Object] | None = None
    """Conversion from this version to the stored one; None where only `apiVersion` differs."""
    from_storage: Callable[[Object], Object] | None = None
    """Conversion from the stored version to this one."""
    deprecation: str = ""
    """A warning that every answer about the resource carries."""
    storage_resource: tuple[str, str] | None = None
    """Group and resource under which objects are stored, where that is another one (events.k8s.io events)."""

    def __post_init__(self) -> None:
        self.singular = self.singular or self.kind.lower()
        self.list_kind = self.list_kind or f"{self.kind}List"
        self.storage_version = self.storage_version or self.version

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def storage_prefix(self) -> str:
        """Prefix of this resource's keys in the store: all versions share it."""
        group, resource = self.storage_resource or (self.group, self.resource)
        return f"/{group or 'core'}/{resource}/"

    @property
    def qualified(self) -> str:
        """`resource.group` as error messages name it (`pods`, `deployments.apps`)."""
        return f"{self.resource}.{self.group}" if self.group else self.resource
