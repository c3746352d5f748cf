"""Why an allocation could not even be tried: one typed error with one sentence for the person who wrote the object."""

from __future__ import annotations

import enum


class Fault(enum.Enum):
    """What an `AllocationError` is about; machine-readable."""

    CLAIM = "claim"
    """The claim asks for something unknown, disabled or impossible."""
    CLASS = "class"
    """The device class does not exist."""
    SELECTOR = "selector"
    """A CEL selector does not compile or failed on a device."""
    NODE_SELECTOR = "nodeSelector"
    """A slice or device names its nodes in a way that cannot be read."""
    POOL = "pool"
    """A resource pool is incomplete or invalid, and the claim cannot be served without it."""
    CONSTRAINT = "constraint"
    """A request for all devices cannot hold its constraint with all of them."""
    BUDGET = "budget"
    """The search was cut off: whether the claim fits is not known."""


class AllocationError(Exception):
    """An attempt that ends without a verdict.

    `on_this_node` says that other nodes may still do: the caller goes on and reports the error only if none fits.
    """

    def __init__(self, fault: Fault, message: str, *, on_this_node: bool = False) -> None:
        super().__init__(message)
        self.fault = fault
        self.on_this_node = on_this_node
