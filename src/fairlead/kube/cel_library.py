"""The functions that Kubernetes adds to CEL: quantity, semver, url, ip, cidr, regex, list and format libraries.

Names and semantics follow the Kubernetes documentation "Common Expression Language in Kubernetes". The type checker
sees every typed overload; the runtime, which tells values apart by kind only, sees one function per combination of
kinds, and the implementation tells our own types apart.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import unquote_plus

from cel_expr_python import cel

from fairlead.kube import cel_patterns as patterns
from fairlead.kube import cel_values as values
from fairlead.kube.cel_formats import FORMATS
from fairlead.kube.cel_values import CIDR, FORMAT, IP, QUANTITY, SEMVER, URL


@dataclass(frozen=True, slots=True)
class Function:
    """A function for expressions: `overloads` are signatures "(target, argument, …) -> result", `impl` takes plain
    Python values. What it raises becomes an evaluation error."""

    name: str
    overloads: tuple[str, ...]
    impl: Callable[..., Any]
    member: bool = True


def _amount(value: Any) -> Decimal:
    return values.quantity_amount(value.text)


def _is(parse: Callable[..., object]) -> Callable[..., bool]:
    def check(*arguments: Any) -> bool:
        try:
            parse(*arguments)
        except ValueError:
            return False
        return True

    return check


def _rank(value: Any) -> values.Version | Decimal:
    return values.version(value.text) if values.type_name(value) == SEMVER else _amount(value)


def _compare(a: Any, b: Any) -> int:
    left: Any = _rank(a)
    right: Any = _rank(b)
    return int(left > right) - int(left < right)


def _add(a: Any, b: Any) -> Any:
    return values.quantity_of(_amount(a) + (b if isinstance(b, int) else _amount(b)))


def _subtract(a: Any, b: Any) -> Any:
    return values.quantity_of(_amount(a) - (b if isinstance(b, int) else _amount(b)))


def _as_integer(value: Any) -> int:
    amount = _amount(value)
    if not _is_integer(value):
        raise ValueError("cannot convert value to integer")
    return int(amount)


def _is_integer(value: Any) -> bool:
    amount = _amount(value)
    return amount == amount.to_integral_value() and -(2**63) <= amount < 2**63


def _find_all(text: str, pattern: str, limit: int = -1) -> list[str]:
    found = patterns.find_all(text, pattern)
    return list(found if limit < 0 else found[:limit])


def _is_sorted(items: list[Any]) -> bool:
    return all(a <= b for a, b in itertools.pairwise(items))


def _extreme(pick: Callable[[list[Any]], Any], name: str) -> Callable[[list[Any]], Any]:
    def choose(items: list[Any]) -> Any:
        if not items:
            raise ValueError(f"{name} called on empty list")
        return pick(items)

    return choose


def _sum(items: list[Any]) -> Any:
    total = items[0] if items else 0
    for item in items[1:]:
        total += item
    return total


def _address(value: Any) -> values.Address:
    return values.parse_ip(value.text)


def _network(value: Any) -> values.Network:
    return values.parse_cidr(value.text)[1]


def _is_canonical(text: str) -> bool:
    return str(values.parse_ip(text)) == text


def _contains_ip(network: Any, address: Any) -> bool:
    wanted = values.parse_ip(address) if isinstance(address, str) else _address(address)
    return wanted in _network(network)


def _contains_cidr(network: Any, other: Any) -> bool:
    inner = values.parse_cidr(other)[1] if isinstance(other, str) else _network(other)
    outer = _network(network)
    return inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type]


def _ip(value: Any) -> Any:
    if isinstance(value, str):
        return values.ip(value)
    return values.make(IP, value.text.partition("/")[0])


def _query(value: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for pair in filter(None, values.parse_url(value.text).query.split("&")):
        key, _, item = pair.partition("=")
        found.setdefault(unquote_plus(key), []).append(unquote_plus(item))
    return found


def _host(value: Any) -> str:
    return values.parse_url(value.text).netloc.rpartition("@")[2]


def _hostname(value: Any) -> str:
    host, colon, port = _host(value).rpartition(":")
    return (host if colon and not port.endswith("]") else _host(value)).strip("[]")


def _port(value: Any) -> str:
    port = values.parse_url(value.text).port
    return "" if port is None else str(port)


def _validate(format_: Any, text: str) -> list[str]:
    return FORMATS[format_.text](text)


def _named_format(name: str) -> Any:
    if name not in FORMATS:
        raise ValueError(f"format {name!r} is not known")
    return values.make(FORMAT, name)


def _format_functions() -> Iterator[Function]:
    for name in FORMATS:
        yield Function(
            f"format.{name}", (f"() -> {FORMAT}",), lambda name=name: values.make(FORMAT, name), member=False
        )
    yield Function("validate", (f"({FORMAT}, string) -> dyn",), _validate)
    yield Function("@validate", (f"({FORMAT}, string) -> list<string>",), _validate, member=False)


_ORDERED = ("int", "uint", "double", "bool", "string", "bytes")


def _per_item(result: str) -> tuple[str, ...]:
    return tuple(f"(list<{item}>) -> {result or item}" for item in _ORDERED)


_PAIRS = (f"({QUANTITY}, {QUANTITY}) -> ", f"({SEMVER}, {SEMVER}) -> ")

FUNCTIONS: tuple[Function, ...] = (
    Function("quantity", (f"(string) -> {QUANTITY}",), values.quantity, member=False),
    Function("isQuantity", ("(string) -> bool",), _is(values.quantity), member=False),
    Function("semver", (f"(string) -> {SEMVER}", f"(string, bool) -> {SEMVER}"), values.semver, member=False),
    Function("isSemver", ("(string) -> bool", "(string, bool) -> bool"), _is(values.semver), member=False),
    Function("isGreaterThan", tuple(p + "bool" for p in _PAIRS), lambda a, b: _compare(a, b) > 0),
    Function("isLessThan", tuple(p + "bool" for p in _PAIRS), lambda a, b: _compare(a, b) < 0),
    Function("compareTo", tuple(p + "int" for p in _PAIRS), _compare),
    Function("sign", (f"({QUANTITY}) -> int",), lambda q: (_amount(q) > 0) - (_amount(q) < 0), member=False),
    Function("isInteger", (f"({QUANTITY}) -> bool",), _is_integer),
    Function("asInteger", (f"({QUANTITY}) -> int",), _as_integer),
    Function("asApproximateFloat", (f"({QUANTITY}) -> double",), lambda q: float(_amount(q))),
    Function("add", (f"({QUANTITY}, {QUANTITY}) -> {QUANTITY}", f"({QUANTITY}, int) -> {QUANTITY}"), _add),
    Function("sub", (f"({QUANTITY}, {QUANTITY}) -> {QUANTITY}", f"({QUANTITY}, int) -> {QUANTITY}"), _subtract),
    Function("major", (f"({SEMVER}) -> int",), lambda v: values.version(v.text).numbers[0]),
    Function("minor", (f"({SEMVER}) -> int",), lambda v: values.version(v.text).numbers[1]),
    Function("patch", (f"({SEMVER}) -> int",), lambda v: values.version(v.text).numbers[2]),
    Function("find", ("(string, string) -> string",), patterns.find),
    Function("findAll", ("(string, string) -> list<string>", "(string, string, int) -> list<string>"), _find_all),
    Function("isSorted", _per_item("bool"), _is_sorted),
    Function("min", _per_item(""), _extreme(min, "min")),
    Function("max", _per_item(""), _extreme(max, "max")),
    Function("sum", tuple(f"(list<{t}>) -> {t}" for t in ("int", "uint", "double")), _sum),
    Function("url", (f"(string) -> {URL}",), values.url, member=False),
    Function("isURL", ("(string) -> bool",), _is(values.parse_url), member=False),
    Function("getScheme", (f"({URL}) -> string",), lambda u: values.parse_url(u.text).scheme),
    Function("getHost", (f"({URL}) -> string",), _host),
    Function("getHostname", (f"({URL}) -> string",), _hostname),
    Function("getPort", (f"({URL}) -> string",), _port),
    Function("getEscapedPath", (f"({URL}) -> string",), lambda u: values.parse_url(u.text).path),
    Function("getQuery", (f"({URL}) -> map<string, list<string>>",), _query),
    Function("ip", (f"(string) -> {IP}",), _ip, member=False),
    Function("ip", (f"({CIDR}) -> {IP}",), _ip),
    Function("isIP", ("(string) -> bool",), _is(values.parse_ip), member=False),
    Function("ip.isCanonical", ("(string) -> bool",), _is_canonical, member=False),
    Function("family", (f"({IP}) -> int",), lambda a: _address(a).version),
    Function("isUnspecified", (f"({IP}) -> bool",), lambda a: _address(a).is_unspecified),
    Function("isLoopback", (f"({IP}) -> bool",), lambda a: _address(a).is_loopback),
    Function("isLinkLocalUnicast", (f"({IP}) -> bool",), lambda a: _address(a).is_link_local),
    Function(
        "isLinkLocalMulticast",
        (f"({IP}) -> bool",),
        lambda a: str(a.text).startswith("224.0.0.") or str(a.text).lower().startswith("ff02:"),
    ),
    Function(
        "isGlobalUnicast",
        (f"({IP}) -> bool",),
        lambda a: (
            not (
                _address(a).is_unspecified
                or _address(a).is_loopback
                or _address(a).is_multicast
                or _address(a).is_link_local
                or str(a.text) == "255.255.255.255"
            )
        ),
    ),
    Function("cidr", (f"(string) -> {CIDR}",), values.cidr, member=False),
    Function("isCIDR", ("(string) -> bool",), _is(values.cidr), member=False),
    Function("containsIP", (f"({CIDR}, string) -> bool", f"({CIDR}, {IP}) -> bool"), _contains_ip),
    Function("containsCIDR", (f"({CIDR}, string) -> bool", f"({CIDR}, {CIDR}) -> bool"), _contains_cidr),
    Function("masked", (f"({CIDR}) -> {CIDR}",), lambda c: values.make(CIDR, str(_network(c)))),
    Function("prefixLength", (f"({CIDR}) -> int",), lambda c: _network(c).prefixlen),
    Function("format.named", (f"(string) -> {FORMAT}",), _named_format, member=False),
    *_format_functions(),
)

_OPAQUE = (CIDR, FORMAT, IP, QUANTITY, SEMVER, URL)
_STRUCT_KIND = "struct"
_KINDS = {
    "bool": cel.Type.BOOL,
    "bytes": cel.Type.BYTES,
    "double": cel.Type.DOUBLE,
    "int": cel.Type.INT,
    "list": cel.Type.LIST,
    "map": cel.Type.MAP,
    "string": cel.Type.STRING,
    _STRUCT_KIND: cel.Type(QUANTITY),
    "uint": cel.Type.UINT,
}


@functools.lru_cache(maxsize=16)
def typed_declarations(functions: tuple[Function, ...]) -> list[cel.FunctionDecl]:
    """Declarations for the type checker, without implementations."""
    by_name: dict[str, list[cel.Overload]] = {}
    for function in functions:
        for index, signature in enumerate(function.overloads):
            parameters, result = _parse(signature)
            overload = cel.Overload(
                f"{function.name}/{function.member}/{index}",
                return_type=cel.Type(result),
                parameters=[cel.Type(parameter) for parameter in parameters],
                is_member=function.member,
            )
            by_name.setdefault(function.name, []).append(overload)
    return [cel.FunctionDecl(name, overloads) for name, overloads in by_name.items()]


@functools.lru_cache(maxsize=16)
def dynamic_declarations(functions: tuple[Function, ...]) -> list[cel.FunctionDecl]:
    """Declarations for the runtime: one overload per combination of kinds, each with the implementation."""
    by_name: dict[str, dict[tuple[Any, ...], cel.Overload]] = {}
    for function in functions:
        overloads = by_name.setdefault(function.name, {})
        for signature in function.overloads:
            for kinds in itertools.product(*map(_kinds, _parse(signature)[0])):
                overloads[(function.member, *kinds)] = cel.Overload(
                    f"{function.name}/{function.member}/{'/'.join(kinds)}",
                    return_type=cel.Type.DYN,
                    parameters=[_KINDS[kind] for kind in kinds],
                    is_member=function.member,
                    impl=function.impl,
                )
    return [cel.FunctionDecl(name, list(overloads.values())) for name, overloads in by_name.items()]


def _parse(signature: str) -> tuple[list[str], str]:
    parameters, _, result = signature.partition(" -> ")
    return [part.strip() for part in parameters[1:-1].split(",") if part.strip()], result


def _kinds(type_name: str) -> tuple[str, ...]:
    if type_name == "dyn":
        return tuple(_KINDS)
    if type_name in _OPAQUE:
        return (_STRUCT_KIND,)
    return (type_name.partition("<")[0],)
