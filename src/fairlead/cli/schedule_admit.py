"""Documents as an API server would store them: checked, defaulted and admitted by the embedded server's own code.

What a server would set on creation is set here: uid, time, priority from the class, the count of a device request. An
object that has been stored before (it has a uid and a creation time, as in `kubectl get -o yaml`) is taken as it is.
Kinds that nobody here knows pass as they are: other schedulers' groups, for one.
"""

from __future__ import annotations

import difflib
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from fairlead.api.crds import all_crds
from fairlead.cli.schedule_documents import BadDocuments, Document, Object
from fairlead.cli.schedule_misfits import misfits, tell_unknown
from fairlead.clock import format_time
from fairlead.embedded.apiserver.body import decode
from fairlead.embedded.apiserver.catalog import Catalog
from fairlead.embedded.apiserver.kinds import builtin_types
from fairlead.embedded.apiserver.kinds.crd import types_of_crd
from fairlead.embedded.apiserver.registry import RequestContext, ResourceType
from fairlead.kube.errors import ApiError
from fairlead.kube.kinds import ALL, POD_GROUP_VERSIONS, WORKLOAD_VERSIONS
from fairlead.kube.resources import Resource

_UIDS: Final = uuid.UUID("0b0f7b54-5a4a-5c8b-9a55-9a6f3f0f2a61")
_CRD: Final = "CustomResourceDefinition"
_CHANGING: Final = frozenset({"scheduling.k8s.io", "resource.k8s.io"})
"""Groups whose kinds are read in versions that the embedded server does not serve."""
_CANNOT: Final = re.compile(r'\w+ in version "[^"]*" cannot be handled as a \w+: ')

Key = tuple[str, str, str]
"""Kind, namespace, name."""


def key_of(obj: Mapping[str, Any]) -> Key:
    metadata = obj["metadata"]
    return obj["kind"], metadata.get("namespace") or "", metadata.get("name") or ""


def uid_for(kind: str, namespace: str, name: str) -> str:
    """A uid that is the same in every run."""
    return str(uuid.uuid5(_UIDS, f"{kind}/{namespace}/{name}"))


class Admission:
    """What a server does to objects on their way in. Objects that others refer to (priority classes, definitions of
    custom kinds) have to come in the same or an earlier call of `admit`."""

    def __init__(self, now_s: float, namespace: str = "default") -> None:
        """`namespace` is that of objects that name none."""
        self._catalog = Catalog(builtin_types())
        self._namespace = namespace
        self._now = format_time(now_s)
        self._stored: dict[tuple[str, str, str, str], Object] = {}
        for crd in all_crds():
            self._define(crd)

    def admit(self, documents: Sequence[Document]) -> list[Object]:
        """The objects as a server would have them, in the order of the documents. Raises BadDocuments."""
        errors: list[str] = []
        first = [each for each in documents if each.obj.get("kind") in (_CRD, "PriorityClass", "RuntimeClass")]
        admitted: dict[int, Object] = {}
        seen: dict[Key, Document] = {}
        rest = [each for each in documents if each.obj.get("kind") not in (_CRD, "PriorityClass", "RuntimeClass")]
        for document in (*first, *rest):
            try:
                obj = self._admit(document.obj)
            except _Refused as refused:
                errors += [f"{document.where}: {error}" for error in refused.errors]
                continue
            key = key_of(obj)
            if key in seen:
                other = seen[key]
                place = f"{other.file}, document {other.number}"
                errors.append(
                    f"{document.where}: metadata.name: there is one of that name already ({place}); rename it"
                )
                continue
            seen[key] = document
            admitted[id(document)] = obj
        if errors:
            raise BadDocuments(errors)
        return [admitted[id(each)] for each in documents]

    def made(self, obj: Object) -> Object:
        """An object that a controller makes: admitted as well. Raises ValueError with what is wrong with it."""
        try:
            return self._admit(obj)
        except _Refused as refused:
            raise ValueError("; ".join(refused.errors)) from refused

    def _admit(self, obj: Object) -> Object:
        type_ = self._type_of(obj)
        metadata = obj.get("metadata")
        if not isinstance(metadata, dict):
            raise _Refused([f"metadata: expected a mapping with a name, found {metadata!r}; name the object"])
        for name in ("name", "namespace", "generateName"):
            if not isinstance(metadata.get(name, ""), str):
                raise _Refused([f"metadata.{name}: expected a text, found {metadata[name]!r}; put it in quotes"])
        if type_ is None:
            return self._stamp(obj, namespaced=True)
        errors = tell_unknown(self._decode(obj, type_), type_.schema)
        if errors:
            raise _Refused(errors)
        was_stored = bool(metadata.get("uid") and metadata.get("creationTimestamp"))
        obj = self._stamp(obj, namespaced=type_.namespaced)
        if not was_stored:
            self._create(obj, type_)
        self._stored[type_.group, type_.resource, obj["metadata"].get("namespace", ""), obj["metadata"]["name"]] = obj
        if obj["kind"] == _CRD:
            self._define(obj)
        return obj if type_.to_storage is None else type_.to_storage(obj)

    def _decode(self, obj: Object, type_: ResourceType) -> list[str]:
        try:
            return decode(obj, type_)
        except ApiError as error:
            raise _Refused(list(misfits(obj, type_.schema)) or [_CANNOT.sub("", error.message)]) from error

    def _create(self, obj: Object, type_: ResourceType) -> None:
        """Admission, preparation and validation of a new object; its status, which a client could not set, stays."""
        context = self._context(obj["metadata"].get("namespace", ""))
        status = obj.get("status")
        try:
            type_.strategy.default_times(obj, context)
            type_.strategy.admit(obj, None, context)
            type_.strategy.prepare_create(obj, context)
        except ApiError as error:
            raise _Refused([f"{error.message}; give what it refers to in one of the files, or leave it out"]) from error
        found = type_.strategy.validate_create(obj, context)
        if found:
            raise _Refused([f"{error.field}: {error.message}" for error in found])
        if status:
            obj["status"] = {**(obj.get("status") or {}), **status}

    def _context(self, namespace: str) -> RequestContext:
        return RequestContext(namespace=namespace, now=self._now, lookup=self._find, lookup_all=self._all)

    def _find(self, group: str, resource: str, namespace: str, name: str) -> Object | None:
        if (group, resource) == ("", "serviceaccounts"):
            # Every account is there, and no pod gets a token, which nothing here depends on.
            return {"metadata": {"name": name, "namespace": namespace}, "automountServiceAccountToken": False}
        return self._stored.get((group, resource, namespace, name))

    def _all(self, group: str, resource: str) -> Sequence[Object]:
        return [obj for key, obj in self._stored.items() if key[:2] == (group, resource)]

    def _stamp(self, obj: Object, *, namespaced: bool) -> Object:
        metadata = obj["metadata"]
        if not metadata.get("name"):
            if not metadata.get("generateName"):
                raise _Refused(["metadata.name: Required value: name the object"])
            metadata["name"] = f"{metadata['generateName']}0"
        if namespaced:
            metadata.setdefault("namespace", self._namespace)
        else:
            metadata.pop("namespace", None)
        if not metadata.get("uid"):
            metadata["uid"] = uid_for(*key_of(obj))
        metadata.setdefault("creationTimestamp", self._now)
        return obj

    def _type_of(self, obj: Object) -> ResourceType | None:
        """The kind's row; None for one that nobody here knows. Raises _Refused for a kind that no cluster has."""
        api_version, kind = obj.get("apiVersion"), obj.get("kind")
        if not isinstance(kind, str) or not kind:
            raise _Refused([f"kind: expected the kind of an object, such as Pod, found {kind!r}; add it"])
        if not isinstance(api_version, str) or not api_version:
            hint = self._versions_of(kind)
            raise _Refused([f"apiVersion: missing{f'; for {kind} write {hint}' if hint else '; add it'}"])
        group, _, version = api_version.rpartition("/")
        found = self._catalog.find_kind(group, version, kind)
        if found is not None:
            return found
        here = [each for each in self._catalog.all() if each.group == group]
        if not here or (group in _CHANGING and (group, kind) in _TYPED):
            return None
        versions = self._versions_of(kind)
        if versions:
            raise _Refused([f"apiVersion: {api_version} has no kind {kind}; write {versions}"])
        near = difflib.get_close_matches(kind, [each.kind for each in here], n=3, cutoff=0.6)
        hint = f"did you mean {' or '.join(dict.fromkeys(near))}?" if near else "leave it out"
        raise _Refused([f"kind: {api_version} has no kind {kind!r}; {hint}"])

    def _versions_of(self, kind: str) -> str:
        return " or ".join(dict.fromkeys(each.api_version for each in self._catalog.all() if each.kind == kind))

    def _define(self, crd: Object) -> None:
        """Serve the kinds of a definition, as they are."""
        spec = crd["spec"]
        names = {**spec["names"]}
        names.setdefault("singular", names["kind"].lower())
        names.setdefault("listKind", f"{names['kind']}List")
        self._catalog.set_custom(crd["metadata"]["name"], types_of_crd({**crd, "spec": {**spec, "names": names}}))


class _Refused(Exception):
    """What a server would say against an object."""

    def __init__(self, errors: Iterable[str]) -> None:
        self.errors = list(errors)
        super().__init__("; ".join(self.errors))


_STRUCTS: Final[Sequence[Resource[Any]]] = (*reversed(WORKLOAD_VERSIONS), *reversed(POD_GROUP_VERSIONS), *ALL)
_TYPED: Final = {(each.group, each.kind): each for each in _STRUCTS if each.model is not dict}


def typed(obj: Object) -> Any:
    """The struct of an object, for kinds that have one; others stay as they are. Raises ValueError."""
    group, _, _ = obj["apiVersion"].rpartition("/")
    resource = _TYPED.get((group, obj["kind"]))
    if resource is None:
        return obj
    try:
        return msgspec.convert(_without_nulls(obj), resource.model)
    except msgspec.ValidationError as error:
        what, _, path = str(error).partition(" - at ")
        field = path.strip("`$").removeprefix(".")
        raise ValueError(f"{field}: {what}" if field else what) from error


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value
