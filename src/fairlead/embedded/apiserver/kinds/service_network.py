"""IPAddress and ServiceCIDR: the addresses of services as objects."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address

from fairlead.embedded.apiserver.invalid import FieldError, invalid, required
from fairlead.embedded.apiserver.kinds.errors import Errors, add_each, check_immutable
from fairlead.embedded.apiserver.kinds.names import Messages, cidr, dns_subdomain, path_segment
from fairlead.embedded.apiserver.kinds.strategy import ClusterStrategy, StatusStrategy
from fairlead.embedded.apiserver.registry import Object, RequestContext

_MOST_RANGES = 2


def _address_name(value: str) -> Messages:
    try:
        address = ip_address(value)
    except ValueError:
        return (f'ParseAddr("{value}"): unable to parse IP',)
    return () if str(address) == value else ("must be in canonical format",)


class AddressStrategy(ClusterStrategy):
    """IPAddress: its name is the address, and what has it stays the same."""

    name_rule = staticmethod(_address_name)

    def validate(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        parent = (obj.get("spec") or {}).get("parentRef")
        if parent is None:
            return (required("spec.parentRef"),)
        group = parent.get("group", "")
        if group:
            add_each(errors, "spec.parentRef.group", group, dns_subdomain(group))
        for key in ("resource", "name"):
            value = parent.get(key, "")
            if value:
                add_each(errors, f"spec.parentRef.{key}", value, path_segment(value))
            else:
                errors.append(required(f"spec.parentRef.{key}"))
        namespace = parent.get("namespace", "")
        if namespace:
            add_each(errors, "spec.parentRef.namespace", namespace, path_segment(namespace))
        return errors

    def validate_change(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        after, before = ((obj.get("spec") or {}).get("parentRef") for obj in (new, old))
        check_immutable(errors, after, before, "spec.parentRef")
        return errors


class RangeStrategy(StatusStrategy):
    """ServiceCIDR: one range of addresses, or one of each family."""

    namespaced = False

    def validate(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        ranges = (obj.get("spec") or {}).get("cidrs") or ()
        if not ranges:
            errors.append(required("spec.cidrs", "at least one CIDR required"))
        if len(ranges) > _MOST_RANGES:
            detail = "may only hold up to 2 values"
            errors.append(invalid("spec.cidrs", list(ranges), detail))
        for index, value in enumerate(ranges):
            add_each(errors, f"spec.cidrs[{index}]", value, cidr(value))
        return errors

    def validate_change(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        after, before = ((obj.get("spec") or {}).get("cidrs") for obj in (new, old))
        check_immutable(errors, after, before, "spec.cidrs")
        return errors
