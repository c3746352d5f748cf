"""What a published device is, in a person's words, by the attributes that drivers give. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from fairlead.kube.quantity import Quantity

_PRODUCT = ("productName", "product", "model")
_OTHERWISE = ("brand", "type")
_NETWORK = ("ifName", "linkType", "encapsulation", "rdmaDevice")
_LINKS = {"infiniband": "InfiniBand", "ethernet": "Ethernet", "ether": "Ethernet"}

Attributes = Mapping[str, Any]
"""Name, with or without the driver's domain before it, -> value."""


def is_network(attributes: Attributes) -> bool:
    """Whether the device is a network port, which stands beside the accelerators."""
    return any(_text(attributes, name) for name in _NETWORK)


def interface(attributes: Attributes) -> str:
    """Name of a port's network interface; empty where there is none."""
    return _text(attributes, "ifName")


def product(attributes: Attributes, bandwidth: str = "") -> str:
    """What could be bought, or the kind of part of it; empty where nothing tells. `bandwidth` is a quantity of bits a
    second, of network ports."""
    if is_network(attributes):
        return _port(attributes, bandwidth)
    for name in _PRODUCT:
        if found := _text(attributes, name):
            profile = _text(attributes, "profile")
            return f"{found} {profile}" if profile else found
    if generation := _text(attributes, "tpuGen"):
        return f"TPU {generation}"
    return next((found for name in _OTHERWISE if (found := _text(attributes, name))), "")


def _port(attributes: Attributes, bandwidth: str) -> str:
    link = _text(attributes, "linkType") or _text(attributes, "encapsulation")
    words = [_LINKS.get(link, link or "network port")]
    if _text(attributes, "kind") == "vf" or _value(attributes, "isSriovVf") is True:
        words.append("VF")
    return " ".join([*words, *_speed(bandwidth)])


def _speed(bandwidth: str) -> list[str]:
    try:
        bits = Quantity.parse(bandwidth).amount
    except ValueError:
        return []
    unit, size = ("Gb/s", Decimal(10**9)) if bits >= 10**9 else ("Mb/s", Decimal(10**6))
    return [f"{float(bits / size):g}", unit]


def _text(attributes: Attributes, name: str) -> str:
    found = _value(attributes, name)
    return found if isinstance(found, str) else ""


def _value(attributes: Attributes, name: str) -> Any:
    if name in attributes:
        return attributes[name]
    return next((value for key, value in attributes.items() if key.rpartition("/")[2] == name), None)
