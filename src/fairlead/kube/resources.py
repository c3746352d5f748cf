"""Resources: where a kind lives in the API and which type its objects decode to.

A `Resource[T]` is the one argument that tells the client, an informer or a controller what they deal in. `T` is a
struct, or `dict[str, Any]` for kinds without one: `Resource.of("example.com/v1", "widgets", "Widget")`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar, cast, overload
from urllib.parse import quote

import msgspec

from fairlead.kube.objects.meta import KubernetesObject, ListMeta, ObjectMeta, OwnerReference

T = TypeVar("T")
Unstructured: TypeAlias = dict[str, Any]
"""An object as plain JSON, for kinds without a struct."""


class ObjectKey(NamedTuple):
    """Namespace ("" for cluster scope) and name: what a work queue holds. Prints as `namespace/name`."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    @staticmethod
    def parse(text: str) -> ObjectKey:
        namespace, _, name = text.rpartition("/")
        return ObjectKey(namespace, name)


class ObjectList(msgspec.Struct, Generic[T], gc=False):
    """A page of a list; `items` is whole when `metadata.continue_` is empty."""

    metadata: ListMeta = ListMeta()
    items: list[T] = []


class _Envelope(msgspec.Struct, Generic[T], gc=False):
    type: str
    object: T


@dataclass(frozen=True, slots=True)
class WatchEvent(Generic[T]):
    """What a watch reports: ADDED, MODIFIED or DELETED with the object, or BOOKMARK with a bare resourceVersion.

    A bookmark that ends the initial events of a streaming list has `is_initial_end` set.
    """

    type: str
    object: T
    resource_version: str
    is_initial_end: bool = False


@dataclass(frozen=True, eq=False)
class Resource(Generic[T]):
    """One resource of one group and version. Compares and hashes by what it names."""

    group: str
    version: str
    plural: str
    kind: str
    model: type[T] = field(repr=False)
    namespaced: bool = True

    @overload
    @staticmethod
    def of(api_version: str, plural: str, kind: str, model: type[T], *, namespaced: bool = True) -> Resource[T]: ...
    @overload
    @staticmethod
    def of(api_version: str, plural: str, kind: str, *, namespaced: bool = True) -> Resource[Unstructured]: ...
    @staticmethod
    def of(api_version: str, plural: str, kind: str, model: Any = None, *, namespaced: bool = True) -> Resource[Any]:
        """A resource by its `apiVersion`, plural name and kind; dict-typed unless a struct is given."""
        group, _, version = api_version.rpartition("/")
        return Resource(group, version, plural, kind, dict if model is None else model, namespaced)

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def __str__(self) -> str:
        """As kubectl names it: `deployments.apps`, `pods`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def identity(self) -> tuple[str, str, str]:
        return (self.group, self.version, self.plural)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Resource) and (self.identity, self.model) == (other.identity, other.model)

    def __hash__(self) -> int:
        return hash(self.identity)

    def as_unstructured(self) -> Resource[Unstructured]:
        """The same resource with whole objects as dicts, for read-modify-write."""
        return Resource(self.group, self.version, self.plural, self.kind, dict, self.namespaced)

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """The URL path of an object, or of the collection (across namespaces, where none is given).

        Raises ValueError where a single object of a namespaced resource is asked for without its namespace.
        """
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if self.namespaced and namespace:
            parts += ["namespaces", quote(namespace, safe="")]
        elif self.namespaced and name:
            raise ValueError(f"{self} is namespaced: give the namespace of {name!r}")
        parts.append(self.plural)
        if name is not None:
            if not name:
                raise ValueError(f"the name of an object of {self} is empty")
            parts.append(quote(name, safe=""))
        if subresource:
            parts.append(subresource)
        return "/" + "/".join(parts)

    def decode(self, data: bytes) -> T:
        """The object in a JSON document. Raises msgspec.ValidationError where a field has another type."""
        return _decode(self._decoder, data, self.model)

    def decode_list(self, data: bytes) -> ObjectList[T]:
        return _decode(self._list_decoder, data, ObjectList[self.model])  # type: ignore[name-defined]

    def decode_event(self, line: bytes) -> WatchEvent[T] | Mapping[str, Any]:
        """The event in one line of a watch, or the Status that an ERROR event carries."""
        try:
            envelope = self._event_decoder.decode(line)
        except msgspec.ValidationError:
            raw = msgspec.json.decode(line)
            if raw.get("type") == "ERROR":
                return cast("Mapping[str, Any]", raw.get("object") or {})
            envelope = msgspec.convert(_without_nulls(raw), _Envelope[self.model])  # type: ignore[name-defined]
        if envelope.type == "ERROR":
            return cast("Mapping[str, Any]", msgspec.json.decode(line)["object"])
        if envelope.type == "BOOKMARK":
            metadata = metadata_of(envelope.object)
            is_end = metadata.annotations.get("k8s.io/initial-events-end") == "true"
            return WatchEvent("BOOKMARK", envelope.object, metadata.resource_version, is_end)
        return WatchEvent(envelope.type, envelope.object, resource_version_of(envelope.object))

    def encode(self, obj: T) -> bytes:
        """The JSON document of an object, with `apiVersion` and `kind` filled in."""
        return msgspec.json.encode(self.identified(obj))

    def identified(self, obj: T) -> T:
        """`obj` with `apiVersion` and `kind`, as the API server wants them in request bodies."""
        if isinstance(obj, dict):
            return cast("T", {"apiVersion": self.api_version, "kind": self.kind, **obj})
        if isinstance(obj, KubernetesObject) and not (obj.api_version and obj.kind):
            return msgspec.structs.replace(obj, api_version=self.api_version, kind=self.kind)
        return obj

    def owner_reference(self, obj: T, *, controller: bool = True, block_deletion: bool = True) -> OwnerReference:
        """A reference for `metadata.ownerReferences` of what belongs to `obj`."""
        metadata = metadata_of(obj)
        return OwnerReference(
            api_version=self.api_version,
            kind=self.kind,
            name=metadata.name,
            uid=metadata.uid,
            controller=controller or None,
            block_owner_deletion=block_deletion or None,
        )

    @cached_property
    def _decoder(self) -> msgspec.json.Decoder[T]:
        return msgspec.json.Decoder(self.model)

    @cached_property
    def _list_decoder(self) -> msgspec.json.Decoder[ObjectList[T]]:
        return msgspec.json.Decoder(ObjectList[self.model])  # type: ignore[name-defined]

    @cached_property
    def _event_decoder(self) -> msgspec.json.Decoder[_Envelope[T]]:
        return msgspec.json.Decoder(_Envelope[self.model])  # type: ignore[name-defined]


def metadata_of(obj: Any) -> ObjectMeta:
    """The metadata of an object of any type, struct or dict."""
    if isinstance(obj, dict):
        return msgspec.convert(_without_nulls(obj.get("metadata") or {}), ObjectMeta)
    return cast("ObjectMeta", obj.metadata)


def key_of(obj: Any) -> ObjectKey:
    if isinstance(obj, dict):
        metadata = obj["metadata"]
        return ObjectKey(metadata.get("namespace", ""), metadata.get("name", ""))
    return ObjectKey(obj.metadata.namespace, obj.metadata.name)


def uid_of(obj: Any) -> str:
    return cast("str", obj["metadata"].get("uid", "") if isinstance(obj, dict) else obj.metadata.uid)


def resource_version_of(obj: Any) -> str:
    if isinstance(obj, dict):
        return cast("str", obj["metadata"].get("resourceVersion", ""))
    return cast("str", obj.metadata.resource_version)


def labels_of(obj: Any) -> Mapping[str, str]:
    return (obj["metadata"].get("labels") or {}) if isinstance(obj, dict) else obj.metadata.labels


def owners_of(obj: Any) -> list[OwnerReference]:
    if isinstance(obj, dict):
        return msgspec.convert(obj["metadata"].get("ownerReferences") or [], list[OwnerReference])
    return list(obj.metadata.owner_references)


def _decode(decoder: msgspec.json.Decoder[T], data: bytes, type: Any) -> T:
    try:
        return decoder.decode(data)
    except msgspec.ValidationError:
        # Go writes null for an unset list, map or time, which the structs have as absent.
        return cast("T", msgspec.convert(_without_nulls(msgspec.json.decode(data)), type))


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value
