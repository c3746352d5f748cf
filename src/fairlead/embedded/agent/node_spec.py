"""The `--nodes` option: which virtual nodes an agent offers.

Either a number (`2`: nodes `node-0` and `node-1` that share the machine's size), or one description per node,
separated by `;`: `name=gpu-a,cpu=8,memory=32Gi,labels=zone:a|rack:r1;name=gpu-b,taints=dedicated=gpu:NoSchedule`.
`N*DESCRIPTION` repeats a description, numbering its names (`3*name=gpu` gives gpu-0 to gpu-2).

Fields: name; cpu, memory, ephemeral-storage (quantities); pods (number); address (IPv4 in 127.0.0.0/8); labels
(`key:value` separated by `|`); zone, region and host (topology labels); taints (`key[=value]:Effect` separated by `|`);
annotations (as labels); resources (further capacity, `name:quantity` separated by `|`).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_QUANTITY = re.compile(r"\d+(\.\d+)?([eE]\d+|m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?")
_LABEL_KEY = re.compile(r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
_MAX_NODES = 1000


class NodeSpecError(ValueError):
    """A `--nodes` value that cannot be understood; the message names the node, the field and what was expected."""


@dataclass(frozen=True, slots=True)
class Taint:
    key: str
    value: str
    effect: str


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """One virtual node. None for a size means: what the machine has."""

    name: str
    cpu: str | None = None
    memory: str | None = None
    ephemeral_storage: str | None = None
    pods: int = 110
    address: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    resources: Mapping[str, str] = field(default_factory=dict)


def parse_nodes(text: str) -> tuple[NodeSpec, ...]:
    """Raises NodeSpecError."""
    text = text.strip()
    if text.isdecimal():
        count = int(text)
        if not 1 <= count <= _MAX_NODES:
            raise NodeSpecError(f"nodes: expected 1 to {_MAX_NODES} nodes, got {count}")
        return tuple(NodeSpec(f"node-{number}") for number in range(count))
    specs: list[NodeSpec] = []
    for position, part in enumerate(p for p in text.split(";") if p.strip()):
        specs.extend(_parse_repeated(part.strip(), position))
    if not specs:
        raise NodeSpecError(
            'nodes: expected a number such as "2" or descriptions such as "name=gpu-a,cpu=8;name=gpu-b"'
        )
    if len(specs) > _MAX_NODES:
        raise NodeSpecError(f"nodes: expected at most {_MAX_NODES} nodes, got {len(specs)}")
    names = [spec.name for spec in specs]
    for name in names:
        if names.count(name) > 1:
            raise NodeSpecError(f'nodes: name "{name}" is given to more than one node')
    return tuple(specs)


def _parse_repeated(text: str, position: int) -> list[NodeSpec]:
    count_text, star, rest = text.partition("*")
    if not star or not count_text.strip().isdecimal():
        return [_parse_node(text, position)]
    count = int(count_text)
    if not 1 <= count <= _MAX_NODES:
        raise NodeSpecError(f"nodes[{position}]: expected 1 to {_MAX_NODES} repetitions, got {count}")
    spec = _parse_node(rest, position)
    if spec.address is not None and count > 1:
        raise NodeSpecError(f"nodes[{position}].address: cannot be given to {count} nodes at once")
    return [replace(spec, name=f"{spec.name}-{number}") for number in range(count)]


def _parse_node(text: str, position: int) -> NodeSpec:
    values: dict[str, str] = {}
    for item in text.split(","):
        key, equals, value = (part.strip() for part in item.partition("="))
        where = f"nodes[{position}].{key or '?'}"
        if not equals or not value:
            raise NodeSpecError(f'{where}: expected "{key or "field"}=value", got "{item.strip()}"')
        if key not in _FIELDS:
            raise NodeSpecError(f"{where}: unknown field; known are {', '.join(sorted(_FIELDS))}")
        if key in values:
            raise NodeSpecError(f"{where}: given twice")
        values[key] = value
    name = values.get("name", f"node-{position}")
    if len(name) > 253 or not _NAME.fullmatch(name):
        raise NodeSpecError(f'nodes[{position}].name: "{name}" is not a lowercase DNS name')
    where = f"nodes[{position}]"
    labels = _pairs(values.get("labels", ""), f"{where}.labels", labels=True)
    for key, label in _TOPOLOGY.items():
        if key in values:
            labels[label] = _label_value(values[key], f"{where}.{key}")
    return NodeSpec(
        name=name,
        cpu=_quantity(values, "cpu", where),
        memory=_quantity(values, "memory", where),
        ephemeral_storage=_quantity(values, "ephemeral-storage", where),
        pods=_pod_count(values.get("pods", "110"), f"{where}.pods"),
        address=_address(values.get("address"), f"{where}.address"),
        labels=labels,
        annotations=_pairs(values.get("annotations", ""), f"{where}.annotations", labels=False),
        taints=tuple(_taint(part, f"{where}.taints") for part in values.get("taints", "").split("|") if part),
        resources=_resources(values.get("resources", ""), f"{where}.resources"),
    )


def _quantity(values: Mapping[str, str], key: str, where: str) -> str | None:
    value = values.get(key)
    if value is not None and not _QUANTITY.fullmatch(value):
        raise NodeSpecError(f'{where}.{key}: expected a quantity such as "8", "500m" or "32Gi", got "{value}"')
    return value


def _pod_count(value: str, where: str) -> int:
    # A node's pods share a /24 of loopback addresses.
    if not value.isdecimal() or not 1 <= int(value) <= 250:
        raise NodeSpecError(f'{where}: expected a number from 1 to 250, got "{value}"')
    return int(value)


def _address(value: str | None, where: str) -> str | None:
    if value is None:
        return None
    try:
        address = ipaddress.IPv4Address(value)
    except ValueError:
        raise NodeSpecError(f'{where}: expected an IPv4 address, got "{value}"') from None
    if not address.is_loopback:
        raise NodeSpecError(f'{where}: expected an address in 127.0.0.0/8, got "{value}"')
    return value


def _pairs(text: str, where: str, *, labels: bool) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for part in (p for p in text.split("|") if p):
        key, colon, value = part.partition(":")
        if not colon or not _LABEL_KEY.fullmatch(key):
            raise NodeSpecError(f'{where}: expected "key:value" with a valid label key, got "{part}"')
        pairs[key] = _label_value(value, f"{where}[{key}]") if labels else value
    return pairs


def _label_value(value: str, where: str) -> str:
    if not _LABEL_VALUE.fullmatch(value):
        raise NodeSpecError(f'{where}: "{value}" is not a valid label value')
    return value


def _taint(text: str, where: str) -> Taint:
    head, _, effect = text.rpartition(":")
    key, _, value = head.partition("=")
    if effect not in _EFFECTS or not _LABEL_KEY.fullmatch(key):
        raise NodeSpecError(f'{where}: expected "key[=value]:Effect" with one of {", ".join(_EFFECTS)}, got "{text}"')
    return Taint(key, _label_value(value, where), effect)


def _resources(text: str, where: str) -> dict[str, str]:
    pairs = _pairs(text, where, labels=False)
    for name, value in pairs.items():
        if not _QUANTITY.fullmatch(value):
            raise NodeSpecError(f'{where}[{name}]: expected a quantity, got "{value}"')
    return pairs


_TOPOLOGY = {
    "zone": "topology.kubernetes.io/zone",
    "region": "topology.kubernetes.io/region",
    "host": "kubernetes.io/hostname",
}
_FIELDS = frozenset(
    {"name", "cpu", "memory", "ephemeral-storage", "pods", "address", "labels", "annotations", "taints", "resources"}
    | _TOPOLOGY.keys()
)
