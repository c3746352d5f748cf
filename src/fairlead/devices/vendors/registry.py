"""The vendors that a driver can be started for, by name.

A vendor is a module with `create(host, node, **options) -> Sequence[Vendor]`. Those that ship with Fairlead have names;
any other is named by its module and function ("acme_devices.vendor:create"), without a line changed here.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from fairlead.devices.errors import DeviceError
from fairlead.devices.host import Host
from fairlead.devices.vendor import Vendor

VENDORS: Final[Mapping[str, str]] = {
    "furiosa": "fairlead.devices.vendors.furiosa.vendor:create",
    "network": "fairlead.devices.vendors.network.vendor:create",
    "nvidia": "fairlead.devices.vendors.nvidia.vendor:create",
    "tpu": "fairlead.devices.vendors.tpu.vendor:create",
}
"""Name -> module:function. Simulated hardware is made from a fleet (`vendors.simulated.vendor.create_fleet`)."""

SIMULATED: Final = "simulated"
Create = Callable[..., Sequence[Vendor]]


class UnknownVendor(DeviceError):
    """No vendor of that name, or none with that option."""


def find(name: str) -> Create:
    """The function that makes a vendor's drivers. Raises UnknownVendor."""
    target = VENDORS.get(name, name if ":" in name else "")
    if not target:
        known = ", ".join((*VENDORS, SIMULATED))
        raise UnknownVendor(
            f'vendor "{name}" is not known; known are {known}, and others by module and function (acme.vendor:create)'
        )
    module, _, function = target.partition(":")
    try:
        return getattr(importlib.import_module(module), function)  # type: ignore[no-any-return]
    except ImportError as error:
        raise UnknownVendor(f'vendor "{name}" cannot be loaded: {error}') from error
    except AttributeError:
        raise UnknownVendor(f'vendor "{name}": module {module} has no function "{function}"') from None


def create(name: str, host: Host, node: str, **options: Any) -> Sequence[Vendor]:
    """The drivers of a vendor for a node. Raises UnknownVendor, for an unknown option too; ProbeError."""
    function = find(name)
    parameters = inspect.signature(function).parameters
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())
    known = [p.name for p in parameters.values() if p.kind is inspect.Parameter.KEYWORD_ONLY]
    for option in options:
        if option not in known and not takes_any:
            raise UnknownVendor(f'vendor "{name}" has no option "{option}"; it has {", ".join(known) or "none"}')
    return function(host, node, **options)
