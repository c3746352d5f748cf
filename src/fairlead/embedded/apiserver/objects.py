"""Creating, changing and deleting objects: what happens between a decoded request and the store.

The order of steps is that of `k8s.io/apiserver` (`endpoints/handlers`, `registry/rest`, `registry/generic/registry`):
field ownership, admission, preparation, validation, storage. From reading the newest version to handing the new one to
the store nothing is awaited, so each write is decided on what precedes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fairlead.clock import Clock, format_time
from fairlead.embedded.apiserver import deletion, empty_lists, ownership
from fairlead.embedded.apiserver.catalog import Catalog
from fairlead.embedded.apiserver.codec import decode_value, encode_value
from fairlead.embedded.apiserver.invalid import FieldError
from fairlead.embedded.apiserver.kinds.metadata import validate_object_meta, validate_object_meta_update
from fairlead.embedded.apiserver.metadata import (
    drop_duplicate_owners,
    generated_name,
    keep_server_fields,
    stamp_new,
)
from fairlead.embedded.apiserver.options import DeleteOptions
from fairlead.embedded.apiserver.pod_parts import CREATE_ONLY, PARTS
from fairlead.embedded.apiserver.registry import Object, RequestContext, ResourceType
from fairlead.embedded.apiserver.related import RelatedObjects
from fairlead.embedded.apiserver.status import (
    already_exists,
    conflict,
    forbidden,
    invalid_object,
    modified,
    not_found,
    plain_internal,
)
from fairlead.embedded.apiserver.store import Record, Store
from fairlead.kube.errors import NotFound

NAME_ATTEMPTS = 8
DEFINITION_TERMINATES = "create not allowed while custom resource definition is terminating"
USER = "system:admin"


@dataclass(slots=True)
class Write:
    """One write request, apart from the object."""

    type: ResourceType
    namespace: str
    name: str = ""
    manager: str = "unknown"
    dry_run: bool = False
    subresource: str = ""
    user: str = USER
    warnings: list[str] = field(default_factory=list)
    """Texts for `Warning` headers; grows while the write is decided."""


@dataclass(frozen=True, slots=True)
class Written:
    """The object after a write, in its stored form; `deleted` when the write removed it at last."""

    value: bytes
    created: bool = False
    deleted: bool = False


Change = Callable[[Object], Object]
"""Makes the wanted object from the current one, which it neither mutates nor shares parts with."""


class Objects:
    """The write path over one store."""

    def __init__(self, store: Store, catalog: Catalog, clock: Clock) -> None:
        self.store = store
        self.catalog = catalog
        self.clock = clock
        self.related = RelatedObjects(store, catalog)
        self.lookup = self.related.find

    def key(self, type_: ResourceType, namespace: str, name: str) -> str:
        return f"{namespace}/{name}" if type_.namespaced else name

    def read(self, type_: ResourceType, record: Record) -> Object:
        return decode_value(type_, self.store.value(record))

    def get(self, type_: ResourceType, namespace: str, name: str) -> Record:
        """The acknowledged record. Raises NotFound."""
        record = self.store.get(type_.storage_prefix, self.key(type_, namespace, name))
        if record is None:
            raise not_found(type_, name)
        return record

    def context(self, write: Write) -> RequestContext:
        return RequestContext(
            namespace=write.namespace,
            now=format_time(self.clock.wall_s()),
            user=write.user,
            dry_run=write.dry_run,
            lookup=self.lookup,
            lookup_all=self.related.all,
        )

    # create

    async def create(
        self, write: Write, obj: Object, *, records_ownership: bool = True, by_update: bool = False
    ) -> Written:
        """Store a decoded, defaulted object. `by_update` says that an update or apply found nothing to change: then the
        version that it names means nothing. Raises ApiError."""
        type_ = write.type
        context = self.context(write)
        metadata = obj.setdefault("metadata", {})
        if type_.namespaced:
            metadata["namespace"] = write.namespace
        else:
            metadata.pop("namespace", None)
        write.warnings += drop_duplicate_owners(metadata)
        type_.strategy.default_times(obj, context)
        if records_ownership:
            self._record_ownership(write, obj, None, context)
        if type_.is_terminating:
            raise forbidden(type_, metadata.get("name", ""), DEFINITION_TERMINATES)
        self._check_namespace(write, obj)
        type_.strategy.admit(obj, None, context)
        stamp_new(metadata, context.now)
        if not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = self._free_name(type_, write.namespace, metadata["generateName"])
        if type_.has_generation:
            metadata["generation"] = 1
        type_.strategy.prepare_create(obj, context)
        self._refuse_invalid(type_, obj, type_.strategy.validate_create(obj, context))
        write.warnings += type_.strategy.warnings(obj, None)
        if metadata.get("resourceVersion") not in (None, "", "0") and not by_update:
            raise plain_internal("resourceVersion should not be set on objects to be created")
        metadata.pop("resourceVersion", None)
        name = metadata["name"]
        if self.store.newest(type_.storage_prefix, self.key(type_, write.namespace, name)) is not None:
            raise already_exists(type_, name)
        empty_lists.settle(type_, obj)
        value = await self._store(write, name, obj)
        return Written(value, created=True)

    def _free_name(self, type_: ResourceType, namespace: str, base: str) -> str:
        name = generated_name(base)
        for _ in range(NAME_ATTEMPTS):
            if self.store.newest(type_.storage_prefix, self.key(type_, namespace, name)) is None:
                break
            name = generated_name(base)
        return name

    def _check_namespace(self, write: Write, obj: Object) -> None:
        """Nothing new comes into a namespace that is missing or ends. Raises NotFound, Forbidden."""
        if not write.type.namespaced:
            return
        namespace = self.lookup("", "namespaces", "", write.namespace)
        if namespace is None:
            raise NotFound(f'namespaces "{write.namespace}" not found', name=write.namespace, kind="namespaces")
        if namespace["metadata"].get("deletionTimestamp"):
            raise forbidden(
                write.type,
                obj["metadata"].get("name", ""),
                f"unable to create new content in namespace {write.namespace} because it is being terminated",
                [
                    {
                        "reason": "NamespaceTerminating",
                        "message": f"namespace {write.namespace} is being terminated",
                        "field": "metadata.namespace",
                    }
                ],
            )

    # update

    async def update(
        self,
        write: Write,
        change: Change,
        *,
        uid: str = "",
        records_ownership: bool = True,
        is_patch: bool = False,
        checks: bool = True,
    ) -> Written:
        """Change an object. `uid` is a precondition; without `checks` the change is the server's own and needs no
        admission, preparation or validation. Raises ApiError."""
        type_ = write.type
        record = self.store.newest(type_.storage_prefix, self.key(type_, write.namespace, write.name))
        if record is None:
            raise not_found(type_, write.name)
        old = self.read(type_, record)
        if uid and uid != old["metadata"]["uid"]:
            raise self.uid_mismatch(write, uid, old["metadata"]["uid"])
        new = change(old)
        metadata = new["metadata"]
        self._check_version(write, metadata, record.version, is_patch)
        context = self.context(write)
        write.warnings += drop_duplicate_owners(metadata)
        keep_server_fields(metadata, old["metadata"])
        if checks:
            type_.strategy.default_times(new, context)
            metadata = new["metadata"]
        if checks and write.subresource == "status":
            type_.strategy.prepare_status_update(new, old, context)
            metadata = new["metadata"]
        if records_ownership:
            self._record_ownership(write, new, old, context)
        if checks:
            self._prepare_update(write, new, old, context)
            self._validate_update(write, new, old, context)
        empty_lists.settle(type_, new)
        if deletion.is_complete(type_, new, old):
            await self._remove(write, {**old, "metadata": dict(old["metadata"])})
            return Written(encode_value(self._stored(type_, new)), deleted=True)
        if _is_unchanged(new, old):
            await self.store.acknowledged(record.version)
            return Written(self.store.value(record))
        return Written(await self._store(write, write.name, new))

    def _prepare_update(self, write: Write, new: Object, old: Object, context: RequestContext) -> None:
        type_ = write.type
        type_.strategy.admit(new, old, context)
        if write.subresource == "status":
            return
        if write.subresource == "finalize":
            _keep(new, old, "status")
            return
        if write.subresource in PARTS:
            PARTS[write.subresource][0](new, old)
        else:
            type_.strategy.prepare_update(new, old, context)
        if type_.has_generation and empty_lists.generation_changed(type_, new, old):
            new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1

    def _check_version(self, write: Write, metadata: Object, version: int, is_patch: bool) -> None:
        asked = metadata.get("resourceVersion") or ""
        if asked and not asked.isdigit():
            raise plain_internal(f'strconv.ParseUint: parsing "{asked}": invalid syntax')
        type_ = write.type
        if int(asked or 0) == 0:
            if not type_.allow_unconditional_update and not is_patch:
                error = FieldError(
                    "FieldValueInvalid", "metadata.resourceVersion", "Invalid value: 0: must be specified for an update"
                )
                raise invalid_object(type_.group, type_.resource, write.name, [error])
        elif int(asked) != version:
            raise modified(type_, write.name)
        metadata["resourceVersion"] = str(version)

    def uid_mismatch(self, write: Write, wanted: str, actual: str) -> Exception:
        """The failed precondition of an update; `actual` is empty where there is no object."""
        type_ = write.type
        key = f"{registry_path(type_)}/{self.key(type_, write.namespace, write.name)}"
        return conflict(
            type_.group,
            type_.resource,
            write.name,
            f"StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: "
            f"Precondition failed: UID in precondition: {wanted}, UID in object meta: {actual}",
        )

    def _validate_update(self, write: Write, new: Object, old: Object, context: RequestContext) -> None:
        strategy = write.type.strategy
        # Every update is checked as a new object's metadata is; only the kind knows its rule for names.
        errors = validate_object_meta(new, namespaced=write.type.namespaced, name_rule=_any_name)
        errors += validate_object_meta_update(new, old)
        if write.subresource == "status":
            errors += strategy.validate_status_update(new, old, context)
        elif write.subresource in PARTS:
            errors += PARTS[write.subresource][1](new, old)
            errors += [error for error in strategy.validate_create(new, context) if error != CREATE_ONLY]
        else:
            errors += strategy.validate_update(new, old, context)
        self._refuse_invalid(write.type, new, errors)
        write.warnings += strategy.warnings(new, old)

    # delete

    async def delete(self, write: Write, options: DeleteOptions) -> tuple[Object, bool]:
        """Delete an object, or begin to. Returns its state and whether it is gone. Raises ApiError."""
        type_ = write.type
        record = self.store.newest(type_.storage_prefix, self.key(type_, write.namespace, write.name))
        if record is None:
            raise not_found(type_, write.name)
        obj = self.read(type_, record)
        context = self.context(write)
        type_.strategy.check_deletion(obj, options.uid, options.version)
        deletion.check_preconditions(type_, obj, options)
        if type_.strategy.begin_deletion(obj, context):
            finalizers = deletion.propagation_finalizers(type_, obj["metadata"].get("finalizers") or (), options)
            if finalizers:
                obj["metadata"]["finalizers"] = finalizers
            if encode_value(self._stored(type_, obj)) != self.store.value(record):
                await self._store(write, write.name, obj)
            return obj, False
        before = encode_value(obj)
        verdict = deletion.decide(type_, obj, options, self.clock.wall_s())
        if verdict is deletion.Verdict.REMOVE:
            if encode_value(obj) != before and not write.dry_run:
                # A graceful deletion that ends at once is seen as a change first, like one that takes its time.
                self._submit(write, write.name, obj)
            await self._remove(write, obj)
            return obj, True
        if verdict is deletion.Verdict.MARK:
            await self._store(write, write.name, obj)
        else:
            await self.store.acknowledged(record.version)
        return obj, False

    async def _remove(self, write: Write, last: Object) -> None:
        if write.dry_run:
            return
        last["metadata"]["resourceVersion"] = str(self.store.next_version())
        stored = encode_value(self._stored(write.type, last))
        key = self.key(write.type, write.namespace, write.name)
        await self.store.write(write.type.storage_prefix, key, stored, deleted=True)

    # shared

    async def _store(self, write: Write, name: str, obj: Object) -> bytes:
        """Hand an object to the store (unless it is a dry run) and return its stored form."""
        if write.dry_run:
            return encode_value(self._stored(write.type, obj))
        value, done = self._submit(write, name, obj)
        await done
        return value

    def _submit(self, write: Write, name: str, obj: Object) -> tuple[bytes, asyncio.Future[Record]]:
        type_ = write.type
        obj["metadata"]["resourceVersion"] = str(self.store.next_version())
        value = encode_value(self._stored(type_, obj))
        return value, self.store.write(type_.storage_prefix, self.key(type_, write.namespace, name), value)

    def _stored(self, type_: ResourceType, obj: Object) -> Object:
        return obj if type_.to_storage is None else type_.to_storage(obj)

    def _record_ownership(self, write: Write, new: Object, old: Object | None, context: RequestContext) -> None:
        """Let the field manager own what it set, apart from what the server resets anyway."""
        type_ = write.type
        hidden = empty_lists.hide(type_, new)
        ownership.record_update(
            new,
            old,
            type_.schema,
            manager=write.manager,
            api_version=type_.api_version,
            subresource=write.subresource,
            now=context.now,
            reset_fields=() if write.subresource else type_.reset_fields,
            versions=self.catalog.schemas_of(type_),
        )
        empty_lists.show(hidden)

    def _refuse_invalid(self, type_: ResourceType, obj: Object, errors: Sequence[FieldError]) -> None:
        if errors:
            group = type_.storage_resource[0] if type_.storage_resource else type_.group
            raise invalid_object(group, obj.get("kind", type_.kind), obj["metadata"].get("name", ""), errors)


def _keep(new: Object, old: Object, key: str) -> None:
    if key in old:
        new[key] = old[key]
    else:
        new.pop(key, None)


def _any_name(name: str) -> tuple[str, ...]:
    return ()


def _is_unchanged(new: Object, old: Object) -> bool:
    """Whether a write would change nothing but times of field ownership."""
    for key in new.keys() | old.keys():
        if key != "metadata" and new.get(key) != old.get(key):
            return False
    metadata, before = new["metadata"], old["metadata"]
    for key in metadata.keys() | before.keys():
        if key != "managedFields" and metadata.get(key) != before.get(key):
            return False
    return _timeless(metadata.get("managedFields")) == _timeless(before.get("managedFields"))


def _timeless(managed: Sequence[Any] | None) -> list[Any]:
    return [{key: value for key, value in entry.items() if key != "time"} for entry in managed or ()]


_REGISTRY_NAMES = {
    "nodes": "minions",
    "services": "services/specs",
    "endpoints": "services/endpoints",
    "replicationcontrollers": "controllers",
    "ingresses": "ingress",
}


def registry_path(type_: ResourceType) -> str:
    """Where etcd would hold the resource: part of a few error messages."""
    if type_.is_custom or type_.group == "apiextensions.k8s.io":
        return f"/registry/{type_.group}/{type_.resource}"
    return f"/registry/{_REGISTRY_NAMES.get(type_.resource, type_.resource)}"
