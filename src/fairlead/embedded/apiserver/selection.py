"""Which objects of a resource a list, watch or deletecollection means: scope, label selector, field selector."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from fairlead.embedded.apiserver.call import Call
from fairlead.embedded.apiserver.codec import decode_value, labels_of
from fairlead.embedded.apiserver.registry import ResourceType
from fairlead.embedded.apiserver.status import bad_request
from fairlead.kube.selectors import (
    FieldRequirement,
    FieldSelector,
    Selector,
    parse_field_selector,
    parse_label_selector,
)

NAME, NAMESPACE = "metadata.name", "metadata.namespace"
_parse_labels = lru_cache(maxsize=512)(parse_label_selector)
_parse_fields = lru_cache(maxsize=512)(parse_field_selector)


@dataclass(frozen=True, slots=True)
class Selection:
    """`prefix` and `name` say which keys come into question, `labels` and `fields` which of those objects.

    `name` is the only name wanted, or None; `fields` holds what names and prefixes do not decide already.
    """

    type: ResourceType
    prefix: str
    name: str | None
    labels: Selector
    fields: FieldSelector

    @property
    def is_everything(self) -> bool:
        """Whether every key in scope is selected, so that no object needs to be read for it."""
        return self.labels.is_everything and not self.fields.requirements and self.name is None

    def has_name(self, name: str) -> bool:
        """Whether a key (`namespace/name`, or `name`) is in scope."""
        return name.startswith(self.prefix) and (self.name is None or name.rpartition("/")[2] == self.name)

    def matches(self, key: str, value: bytes) -> bool:
        """Whether an object in scope is selected, by its key and stored value."""
        if not self.labels.is_everything and not self.labels.matches(labels_of(value)):
            return False
        return not self.fields.requirements or self.fields.matches(self._reader(key, value))

    def _reader(self, key: str, value: bytes) -> Callable[[str], str]:
        namespace, _, name = key.rpartition("/")
        read = self.type.selectable_fields
        obj = decode_value(self.type, value) if any(r.field in read for r in self.fields.requirements) else {}

        def get(path: str) -> str:
            if path == NAME:
                return name
            return namespace if path == NAMESPACE else read[path](obj)

        return get


def selection_of(call: Call) -> Selection:
    """The selection of a request. Raises BadRequest."""
    type_ = call.type
    try:
        labels = _parse_labels(call.query.get("labelSelector", ""))
        fields = _parse_fields(call.query.get("fieldSelector", ""))
    except ValueError as error:
        raise bad_request(str(error)) from error
    for requirement in fields.requirements:
        _refuse_unknown(type_, requirement.field)
    name = call.name or None
    exact = fields.exact(NAME)
    if name is not None and fields.requirements and exact != name:
        raise bad_request("fieldSelector metadata.name doesn't match requested name")
    if exact is not None and name in (None, exact):
        name = exact
    prefix = f"{call.namespace}/" if call.namespace and type_.namespaced else ""
    left = tuple(
        requirement for requirement in fields.requirements if not _is_decided(requirement, name, call.namespace)
    )
    return Selection(type_, prefix, name, labels, FieldSelector(left))


def _is_decided(requirement: FieldRequirement, name: str | None, namespace: str) -> bool:
    if requirement.operator != "=":
        return False
    if requirement.field == NAME:
        return requirement.value == name
    return requirement.field == NAMESPACE and requirement.value == namespace


def _refuse_unknown(type_: ResourceType, field: str) -> None:
    if field in (NAME, NAMESPACE) or field in type_.selectable_fields:
        return
    if type_.selectable_fields or type_.is_custom:
        named = f" for {type_.group}/{type_.version}, Kind={type_.kind}" if type_.kind == "ResourceSlice" else ""
        raise bad_request(f"field label not supported{named}: {field}")
    raise bad_request(f'"{field}" is not a known field selector: only "{NAME}", "{NAMESPACE}"')
