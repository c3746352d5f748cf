"""The paths of an OpenAPI document: collections, objects and subresources with their verbs, kinds and parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fairlead.embedded.apiserver.registry import ResourceType

Document = dict[str, Any]
KindReference = Callable[[ResourceType, str], Document]

_LIST_PARAMETERS = (
    ("allowWatchBookmarks", "boolean"), ("continue", "string"), ("fieldSelector", "string"),
    ("labelSelector", "string"), ("limit", "integer"), ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"), ("sendInitialEvents", "boolean"), ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
)  # fmt: skip
_WRITE_PARAMETERS = (("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string"))
_PATCH_PARAMETERS = (*_WRITE_PARAMETERS, ("force", "boolean"))
_DELETE_PARAMETERS = (
    ("dryRun", "string"), ("gracePeriodSeconds", "integer"), ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
)  # fmt: skip
_PATCH_TYPES = ("application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml")
_STRATEGIC = "application/strategic-merge-patch+json"
_SCALE = {"group": "autoscaling", "kind": "Scale", "version": "v1"}

# verb -> (method, action, parameters, whether it has a body of the kind)
_COLLECTION_VERBS = {
    "list": ("get", "list", _LIST_PARAMETERS),
    "create": ("post", "post", _WRITE_PARAMETERS),
    "deletecollection": ("delete", "deletecollection", (*_LIST_PARAMETERS[1:6], *_DELETE_PARAMETERS)),
}
_OBJECT_VERBS = {
    "get": ("get", "get", ()),
    "update": ("put", "put", _WRITE_PARAMETERS),
    "patch": ("patch", "patch", _PATCH_PARAMETERS),
    "delete": ("delete", "delete", _DELETE_PARAMETERS),
}


def paths_of(types: Sequence[ResourceType], refer: KindReference, *, version: int) -> Document:
    """Path -> operations. `refer` gives a reference to a kind's definition."""
    paths: Document = {}
    for type_ in types:
        root = f"/apis/{type_.group}/{type_.version}" if type_.group else f"/api/{type_.version}"
        scope = "/namespaces/{namespace}" if type_.namespaced else ""
        collection = f"{root}{scope}/{type_.resource}"
        writer = _Operations(type_, refer, version)
        _add(paths, collection, writer.operations(_COLLECTION_VERBS), type_, version)
        _add(paths, collection + "/{name}", writer.operations(_OBJECT_VERBS), type_, version, named=True)
        if type_.namespaced and "list" in type_.verbs:
            everywhere = writer.operations({"list": _COLLECTION_VERBS["list"]})
            paths[f"{root}/{type_.resource}"] = everywhere
        for subresource, operations in writer.subresources():
            _add(paths, f"{collection}/{{name}}/{subresource}", operations, type_, version, named=True)
    return paths


def _add(
    paths: Document, path: str, operations: Document, type_: ResourceType, version: int, *, named: bool = False
) -> None:
    if not operations:
        return
    parameters = []
    if named:
        parameters.append(_parameter("name", "string", version, place="path"))
    if type_.namespaced:
        parameters.append(_parameter("namespace", "string", version, place="path"))
    paths[path] = operations | {"parameters": [*parameters, _parameter("pretty", "string", version)]}


def _parameter(name: str, kind: str, version: int, *, place: str = "query") -> Document:
    parameter: Document = {"name": name, "in": place}
    if place == "path":
        parameter["required"] = True
    if version == 2:
        return parameter | {"type": kind, "uniqueItems": True}
    return parameter | {"schema": {"type": kind, "uniqueItems": True}}


class _Operations:
    """The operations on one type's paths."""

    def __init__(self, type_: ResourceType, refer: KindReference, version: int) -> None:
        self._type = type_
        self._refer = refer
        self._version = version
        self._kind = {"group": type_.group, "kind": type_.kind, "version": type_.version}

    def operations(self, verbs: dict[str, Any], *, prefix: str = "") -> Document:
        made: Document = {}
        for verb, (method, action, parameters) in verbs.items():
            if verb in self._type.verbs:
                answer = {"list": self._type.list_kind, "delete": "Status", "deletecollection": "Status"}
                kind = answer.get(verb, self._type.kind)
                made[method] = self._operation(verb, action, parameters, kind, self._kind, prefix)
        return made

    def subresources(self) -> list[tuple[str, Document]]:
        verbs = {verb: _OBJECT_VERBS[verb] for verb in ("get", "update", "patch")}
        made: list[tuple[str, Document]] = []
        if self._type.has_status:
            made.append(("status", self.operations(verbs, prefix="Status")))
        if self._type.scale is not None:
            scale = {
                method: self._operation(verb, action, parameters, "Scale", _SCALE, "Scale")
                for verb, (method, action, parameters) in verbs.items()
            }
            made.append(("scale", scale))
        return made

    def _operation(
        self,
        verb: str,
        action: str,
        parameters: Sequence[tuple[str, str]],
        answer: str,
        kind: dict[str, str],
        suffix: str,
    ) -> Document:
        described = [_parameter(name, type_, self._version) for name, type_ in parameters]
        body: Document = {}
        if verb in ("create", "update", "patch", "delete", "deletecollection"):
            wanted = {"patch": "Patch", "delete": "DeleteOptions", "deletecollection": "DeleteOptions"}.get(
                verb, answer
            )
            reference = self._refer(self._type, wanted)
            if self._version == 2:
                described.append({"name": "body", "in": "body", "required": verb != "delete", "schema": reference})
            else:
                types = self._body_types(verb)
                body = {"requestBody": {"content": {each: {"schema": reference} for each in types}}}
        return {
            "operationId": f"{verb}{self._type.version.capitalize()}{self._type.kind}{suffix}",
            "tags": [f"{self._type.group.partition('.')[0] or 'core'}_{self._type.version}"],
            "parameters": described,
            **body,
            "responses": {"200": self._response(answer), "401": {"description": "Unauthorized"}},
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": kind,
        }

    def _body_types(self, verb: str) -> Sequence[str]:
        if verb != "patch":
            return ("application/json",)
        return _PATCH_TYPES if self._type.is_custom else (*_PATCH_TYPES, _STRATEGIC)

    def _response(self, kind: str) -> Document:
        reference = self._refer(self._type, kind)
        if self._version == 2:
            return {"description": "OK", "schema": reference}
        return {"description": "OK", "content": {"application/json": {"schema": reference}}}
