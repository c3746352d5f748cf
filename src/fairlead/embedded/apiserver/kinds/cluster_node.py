"""Node (core/v1): taints, pod networks, capacities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fairlead.embedded.apiserver.invalid import FieldError, duplicate, forbidden, invalid, not_supported, required
from fairlead.embedded.apiserver.kinds.errors import Errors, add_each, duplicate_with_detail, internal_form
from fairlead.embedded.apiserver.kinds.names import cidr, label_value, qualified_name
from fairlead.embedded.apiserver.kinds.pod_scheduling import TAINT_EFFECTS
from fairlead.embedded.apiserver.kinds.resources import quantity_messages
from fairlead.embedded.apiserver.kinds.strategy import StatusStrategy
from fairlead.embedded.apiserver.registry import Object, RequestContext

_TAINT = (("Key", "key", ""), ("Value", "value", ""), ("Effect", "effect", ""), ("TimeAdded", "timeAdded", None))


class NodeStrategy(StatusStrategy):
    """Nodes may be created with a status, since it is the node agent that creates them."""

    namespaced = False
    metadata_rechecks = 1
    rechecks_metadata_first = True

    def default(self, obj: Object) -> None:
        spec, status = obj.setdefault("spec", {}), obj.setdefault("status", {})
        network, networks = spec.get("podCIDR"), spec.get("podCIDRs")
        if network and (not networks or networks[0] != network):
            spec["podCIDRs"] = [network]
        elif networks:
            spec["podCIDR"] = networks[0]
        if status.get("allocatable") is None and status.get("capacity") is not None:
            status["allocatable"] = dict(status["capacity"])

    def prepare_create(self, obj: Object, context: RequestContext) -> None:
        return

    def validate(self, obj: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        _validate_taints(errors, obj["spec"].get("taints") or ())
        _validate_amounts(errors, obj.get("status") or {})
        _validate_networks(errors, obj["spec"].get("podCIDRs") or ())
        return errors

    def validate_change(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = list(self.validate(new, context))
        self._validate_change(errors, new, old)
        return errors

    def validate_status(self, new: Object, old: Object, context: RequestContext) -> Sequence[FieldError]:
        errors: Errors = []
        self._validate_change(errors, new, old)
        return errors

    def _validate_change(self, errors: Errors, new: Object, old: Object) -> None:
        status = new.get("status") or {}
        _validate_amounts(errors, status)
        addresses: list[tuple[Any, Any]] = []
        for index, address in enumerate(status.get("addresses") or ()):
            key = (address.get("type"), address.get("address"))
            if key in addresses:
                shown = {"Type": key[0], "Address": key[1]}
                errors.append(duplicate(f"status.addresses[{index}]", shown))
            addresses.append(key)
        before, after = old["spec"], new["spec"]
        if before.get("podCIDRs") and before["podCIDRs"] != (after.get("podCIDRs") or []):
            detail = 'node updates may not change podCIDR except from "" to valid'
            errors.append(forbidden("spec.podCIDRs", detail))
        if before.get("providerID") and before["providerID"] != after.get("providerID"):
            detail = 'node updates may not change providerID except from "" to valid'
            errors.append(forbidden("spec.providerID", detail))
        _validate_taints(errors, after.get("taints") or ())
        if before.get("externalID", "") != after.get("externalID", ""):
            errors.append(forbidden("spec.externalID", "may not be updated"))

    def warnings(self, obj: Object, old: Object | None) -> Sequence[str]:
        found = []
        if obj["spec"].get("configSource") is not None:
            found.append("spec.configSource: the spec.configSource feature is no longer supported")
        if obj["spec"].get("externalID"):
            found.append("spec.externalID: this field is deprecated, and is unused by Kubernetes")
        return found


# The API reports taints as if they stood in the metadata.
def _validate_taints(errors: Errors, taints: Sequence[Mapping[str, Any]]) -> None:
    seen: set[tuple[str, str]] = set()
    for index, taint in enumerate(taints):
        at = f"metadata.taints[{index}]"
        key, value, effect = taint.get("key", ""), taint.get("value", ""), taint.get("effect", "")
        add_each(errors, f"{at}.key", key, qualified_name(key))
        messages = label_value(value)
        if messages:
            errors.append(invalid(f"{at}.value", value, ";".join(messages)))
        if not effect:
            errors.append(required(f"{at}.effect"))
        elif effect not in TAINT_EFFECTS:
            errors.append(not_supported(f"{at}.effect", effect, TAINT_EFFECTS))
        if (key, effect) in seen:
            detail = "taints must be unique by key and effect pair"
            errors.append(duplicate_with_detail(at, internal_form(taint, _TAINT), detail))
        seen.add((key, effect))


def _validate_amounts(errors: Errors, status: Mapping[str, Any]) -> None:
    for kind in ("capacity", "allocatable"):
        for name, text in (status.get(kind) or {}).items():
            add_each(errors, f"status.{kind}.{name}", text, quantity_messages(name, text))


def _validate_networks(errors: Errors, networks: Sequence[str]) -> None:
    path = "spec.podCIDRs"
    before = len(errors)
    for index, network in enumerate(networks):
        add_each(errors, f"{path}[{index}]", network, cidr(network))
    if len(networks) < 2 or len(errors) > before:
        return
    families = {":" in network for network in networks}
    if len(families) < 2 or len(networks) > 2:
        errors.append(invalid(path, networks, "may specify no more than one CIDR for each IP family"))
    for index, network in enumerate(networks):
        if network in networks[:index]:
            errors.append(duplicate(f"{path}[{index}]", network))
