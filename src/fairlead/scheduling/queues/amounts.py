"""Amounts of resources as people read them: `1500m` cpu, `64Gi` memory, `8` of a device."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from fairlead.kube.quantity import Format, Quantity

_BYTES = ("memory", "ephemeral-storage", "hugepages-")


def quantity_text(resource: str, amount: int) -> str:
    """A Kubernetes quantity: `amount` is in millicores for cpu, in bytes, or in units."""
    if resource == "cpu":
        return str(Quantity(Decimal(amount).scaleb(-3)))
    if resource.startswith(_BYTES):
        return str(Quantity(amount, Format.BINARY_SI))
    return str(Quantity(amount))


def quantity_texts(amounts: Mapping[str, int]) -> dict[str, str]:
    """As a status field holds them, in the order of their names."""
    return {name: quantity_text(name, amounts[name]) for name in sorted(amounts)}


def of_resource(resource: str, amount: int) -> str:
    """An amount with its resource, for sentences."""
    return f"{quantity_text(resource, amount)} {resource}"
