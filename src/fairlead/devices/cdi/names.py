"""Names in the Container Device Interface: `vendor/class=device`.

Sources: SPEC.md 1.1.0, "Kind" and "CDI Devices", and the parser of the reference implementation. Where they differ:

- Vendor. The prose asks for a DNS subdomain of at most 253 characters; the reference parser knows no length, allows
  underscores and wants a letter first. Here: what the parser accepts (its own cases have an underscore), with the
  prose's length, and each label between dots must begin and end with a letter or digit as in a subdomain.
- Class. The prose lets it begin with a digit, the parser does not; the prose has a length of 63, the parser none.
  Here: a letter first and at most 63, as a runtime would refuse the first and a strict reader the second.
- Device. The prose does not name the colon, which the parser allows and vendors use (MIG devices: "0:1"). It is
  allowed.

All letters and digits are ASCII.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from fairlead.devices.cdi.errors import InvalidName

MAX_VENDOR = 253
MAX_CLASS = 63

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9])?"
_VENDOR = re.compile(rf"(?=[A-Za-z]){_LABEL}(?:\.{_LABEL})*")
_CLASS = re.compile(r"[A-Za-z](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?")
_DEVICE = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.:-]*[A-Za-z0-9])?")


@dataclass(frozen=True, slots=True)
class QualifiedName:
    """A device by its full name."""

    vendor: str
    device_class: str
    device: str

    @property
    def kind(self) -> str:
        return f"{self.vendor}/{self.device_class}"

    def __str__(self) -> str:
        return f"{self.vendor}/{self.device_class}={self.device}"


def qualified_name(kind: str, device: str) -> str:
    """The full name of a device of a kind (vendor/class), unchecked."""
    return f"{kind}={device}"


def parse_qualified_name(name: str) -> QualifiedName:
    """Split and check `vendor/class=device`. Raises InvalidName."""
    vendor, device_class, device = split_name(name)
    if not vendor:
        raise InvalidName("name", name, "expected a qualified device name, vendor/class=device")
    return QualifiedName(check_vendor(vendor), check_class(device_class), check_device(device))


def is_qualified_name(name: str) -> bool:
    try:
        parse_qualified_name(name)
    except InvalidName:
        return False
    return True


def split_name(name: str) -> tuple[str, str, str]:
    """Vendor, class and device of a name, unchecked; of one without the form vendor/class=device (a path such as
    /dev/null, say) the first two are empty and the third is all of it."""
    kind, separator, device = name.partition("=")
    vendor, slash, device_class = kind.partition("/")
    if not (separator and slash and vendor and device_class and device):
        return "", "", name
    return vendor, device_class, device


def parse_kind(kind: str) -> tuple[str, str]:
    """Vendor and class of a kind. Raises InvalidName."""
    vendor, slash, device_class = kind.partition("/")
    if not (vendor and slash and device_class):
        raise InvalidName("name", kind, "expected a kind, vendor/class")
    return check_vendor(vendor), check_class(device_class)


def check_vendor(vendor: str) -> str:
    """The name itself. Raises InvalidName."""
    if len(vendor) > MAX_VENDOR:
        raise InvalidName("vendor", vendor, f"expected at most {MAX_VENDOR} characters, got {len(vendor)}")
    if not _VENDOR.fullmatch(vendor):
        rule = "a letter first, then letters, digits, '-' and '_' in labels separated by '.', each beginning and ending"
        raise InvalidName("vendor", vendor, f"expected {rule} with a letter or digit")
    return vendor


def check_class(device_class: str) -> str:
    """The name itself. Raises InvalidName."""
    if len(device_class) > MAX_CLASS:
        raise InvalidName("class", device_class, f"expected at most {MAX_CLASS} characters, got {len(device_class)}")
    if not _CLASS.fullmatch(device_class):
        rule = "a letter first, then letters, digits, '-', '_' and '.', a letter or digit last"
        raise InvalidName("class", device_class, f"expected {rule}")
    return device_class


def check_device(device: str) -> str:
    """The name itself. Raises InvalidName."""
    if not _DEVICE.fullmatch(device):
        rule = "a letter or digit first and last, between them letters, digits, '-', '_', '.' and ':'"
        raise InvalidName("device", device, f"expected {rule}")
    return device


def spec_name(kind: str) -> str:
    """Name of the file (without .json or .yaml) that holds a kind's devices: `vendor-class`. Raises InvalidName."""
    vendor, device_class = parse_kind(kind)
    return f"{vendor}-{device_class}"


def transient_spec_name(kind: str, transient_id: str) -> str:
    """Name of the file (without .json or .yaml) of a spec that lives as long as something else, such as a claim:
    `vendor-class_id`. `transient_id` must be unique on the host among specs of the kind; a "/" in it becomes "_".
    Raises InvalidName."""
    if not transient_id:
        raise InvalidName("name", transient_id, "expected the id of what the transient spec belongs to, got none")
    return f"{spec_name(kind)}_{transient_id.replace('/', '_')}"
