"""Values of the types that Kubernetes adds to CEL: quantity, semver, url, ip, cidr and named formats.

They travel through the CEL runtime as small protobuf messages that hold a canonical text, so that CEL's own equality
of messages is equality of values. Making one raises ValueError with a reason.
"""

from __future__ import annotations

import functools
import ipaddress
import re
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Protocol, cast
from urllib.parse import SplitResult, urlsplit

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from fairlead.kube.quantity import Quantity

CIDR = "net.CIDR"
FORMAT = "kubernetes.NamedFormat"
IP = "net.IP"
QUANTITY = "kubernetes.Quantity"
SEMVER = "kubernetes.Semver"
URL = "kubernetes.URL"


class Opaque(Protocol):
    """A value of one of our types as the runtime hands it to functions."""

    text: str


def _descriptor_file() -> tuple[descriptor_pb2.FileDescriptorProto, ...]:
    packages: dict[str, descriptor_pb2.FileDescriptorProto] = {}
    for full_name in (CIDR, FORMAT, IP, QUANTITY, SEMVER, URL):
        package, _, name = full_name.partition(".")
        file = packages.setdefault(
            package,
            descriptor_pb2.FileDescriptorProto(name=f"fairlead/cel/{package}.proto", package=package, syntax="proto3"),
        )
        file.message_type.add(name=name).field.add(name="text", number=1, type=9, label=1)
    return tuple(packages.values())


FILES = _descriptor_file()
POOL = descriptor_pool.DescriptorPool()
for _file in FILES:
    POOL.AddSerializedFile(_file.SerializeToString())
_CLASSES: dict[str, Any] = {
    name: message_factory.GetMessageClass(POOL.FindMessageTypeByName(name))
    for name in (CIDR, FORMAT, IP, QUANTITY, SEMVER, URL)
}


def make(type_name: str, text: str) -> Opaque:
    return cast(Opaque, _CLASSES[type_name](text=text))


def type_name(value: Any) -> str:
    """The full type name of an opaque value; empty for anything else."""
    descriptor = getattr(value, "DESCRIPTOR", None)
    return str(descriptor.full_name) if descriptor is not None else ""


def quantity_amount(text: str) -> Decimal:
    """The exact amount of a Kubernetes quantity ("100m", "1Gi", "1e3"). Raises ValueError."""
    return Quantity.parse(text).amount


def quantity_of(amount: Decimal) -> Opaque:
    return make(QUANTITY, format(amount.normalize(), "f"))


def quantity(text: str) -> Opaque:
    return quantity_of(quantity_amount(text))


_SEMVER = re.compile(
    r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(?:-((?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*)(?:\.(?:0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*))*))?"
    r"(?:\+([0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?",
    re.ASCII,
)


@functools.total_ordering
@dataclass(frozen=True, slots=True)
class Version:
    """A semantic version (semver.org 2.0.0) without build metadata, which has no rank."""

    numbers: tuple[int, int, int]
    pre_release: tuple[str, ...]
    rank: tuple[Any, ...] = field(init=False, compare=False, repr=False)
    """Orders as the versions do."""

    def __post_init__(self) -> None:
        # A release outranks its pre-releases; numeric identifiers rank below alphanumeric ones.
        parts = tuple((0, int(part), "") if part.isdigit() else (1, 0, part) for part in self.pre_release)
        object.__setattr__(self, "rank", (*self.numbers, not self.pre_release, parts))

    @classmethod
    def parse(cls, text: str) -> Version:
        match = _SEMVER.fullmatch(text)
        if match is None:
            raise ValueError(_version_problem(text))
        numbers = (int(match[1]), int(match[2]), int(match[3]))
        return cls(numbers, tuple(match[4].split(".")) if match[4] else ())

    def __lt__(self, other: Version) -> bool:
        return self.rank < other.rank

    def __str__(self) -> str:
        release = ".".join(map(str, self.numbers))
        return f"{release}-{'.'.join(self.pre_release)}" if self.pre_release else release


_DIGITS = re.compile(r"[0-9]+")
_IDENTIFIER = re.compile(r"[0-9A-Za-z-]+")


def _version_problem(text: str) -> str:
    """Why a text is no semantic version, as the API server words it."""
    if not text:
        return "Version string empty"
    parts = text.split(".", 2)
    if len(parts) != 3:
        return "No Major.Minor.Patch elements found"
    rest, _, build = parts[2].partition("+")
    patch, dash, pre_release = rest.partition("-")
    for name, number in zip(("major", "minor", "patch"), (*parts[:2], patch), strict=True):
        if not _DIGITS.fullmatch(number):
            return f'Invalid character(s) found in {name} number "{number}"'
        if number[0] == "0" and number != "0":
            return f'{name.capitalize()} number must not contain leading zeroes "{number}"'
    for part in pre_release.split(".") if dash else ():
        if not part:
            return "Prerelease is empty"
        if not _IDENTIFIER.fullmatch(part):
            return f'Invalid character(s) found in prerelease "{part}"'
        if _DIGITS.fullmatch(part) and part[0] == "0" and part != "0":
            return f'Numeric PreRelease version must not contain leading zeroes "{part}"'
    wrong = [part for part in build.split(".") if not _IDENTIFIER.fullmatch(part)]
    return f'Invalid character(s) found in build meta data "{wrong[0]}"' if any(wrong) else "Build meta data is empty"


def semver(text: str, normalize: bool = False) -> Opaque:
    """With `normalize`, a leading "v", missing minor and patch numbers and leading zeros are put right first."""
    if normalize:
        core, mark, rest = re.match(r"([^+-]*)([+-]?)(.*)", text.removeprefix("v"), re.DOTALL).groups()  # type: ignore[union-attr]
        parts = [part.lstrip("0") or "0" if part else part for part in core.split(".")]
        parts += ["0"] * (3 - len(parts))
        text = ".".join(parts) + mark + rest
    return make(SEMVER, str(Version.parse(text)))


@functools.lru_cache(maxsize=4096)
def version(text: str) -> Version:
    return Version.parse(text)


Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_ip(text: str) -> Address:
    if "%" in text:
        raise ValueError(f"IP Address with zone value is not allowed: {text!r}")
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f"IP Address {text!r} parse error during conversion from string") from None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        raise ValueError(f"IPv4-mapped IPv6 address is not allowed: {text!r}")
    return address


def ip(text: str) -> Opaque:
    return make(IP, str(parse_ip(text)))


def parse_cidr(text: str) -> tuple[Address, Network]:
    """The address as written and its network."""
    address, slash, length = text.partition("/")
    try:
        if not slash or not length.isdigit() or (length[0] == "0" and length != "0"):
            raise ValueError
        return parse_ip(address), ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError(f"network address parse error during conversion from string: {text!r}") from None


def cidr(text: str) -> Opaque:
    address, network = parse_cidr(text)
    return make(CIDR, f"{address}/{network.prefixlen}")


def parse_url(text: str) -> SplitResult:
    """An absolute URI or absolute path, as an HTTP request line takes it."""
    if any(ord(char) < 0x20 or char == "\x7f" for char in text):
        raise ValueError(f"parse {text!r}: net/url: invalid control character in URL")
    parts = urlsplit(text)
    if not (parts.scheme or text.startswith("/")) or " " in parts.netloc:
        raise ValueError(f"URL parse error during conversion from string: parse {text!r}: invalid URI for request")
    _ = parts.port
    return parts


def url(text: str) -> Opaque:
    parse_url(text)
    return make(URL, text)
