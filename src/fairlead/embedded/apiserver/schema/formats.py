"""String formats that CRDs may name, as the API server checks them."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable
from datetime import date, datetime
from urllib.parse import urlsplit

_SHORT_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LONG_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_HOST_LABEL = re.compile(r"[^\W_]([^\W_]|-(?!\Z)){0,62}")
_TOP_LEVEL = re.compile(r"[^\W\d_]{2,63}")
_EMAIL = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")
_DATE_TIME = re.compile(r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})?")
_MAC = re.compile(
    r"[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}([:-][0-9A-Fa-f]{2}){0,2}|([0-9A-Fa-f]{4}\.){2,3}[0-9A-Fa-f]{4}"
)
_GO_DURATION = re.compile(
    r"[-+]?(\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)((\d+(\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h))*|[-+]?0"
)
_WORDY_DURATION = re.compile(
    r"((\d+)\s*([A-Za-zµμ]+))",
)
_DURATION_WORDS = re.compile(
    r"ns|nanos?|nanoseconds?|us|micros?|microseconds?|[µμ]s|ms|millis?|milliseconds?|s|secs?|seconds?|m|mins?|minutes?"
    r"|h|hrs?|hours?|d|days?|w|wks?|weeks?"
)
_CREDIT_CARD = re.compile(
    r"(4\d{12}(\d{3})?|5[1-5]\d{14}|6(011|5\d\d)\d{12}|3[47]\d{13}|3(0[0-5]|[68]\d)\d{11}|(2131|1800|35\d{3})\d{11})"
)
_COLOR = r"\s*(0|[1-9]\d?|1\d\d?|2[0-4]\d|25[0-5])\s*"
_UUIDS = {
    "uuid": re.compile(r"(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}"),
    "uuid3": re.compile(r"(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?3[0-9a-f]{3}-?[0-9a-f]{4}-?[0-9a-f]{12}"),
    "uuid4": re.compile(r"(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?4[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}"),
    "uuid5": re.compile(r"(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?5[0-9a-f]{3}-?[89ab][0-9a-f]{3}-?[0-9a-f]{12}"),
}


def is_valid(format_: str, text: str) -> bool:
    """Whether a text has a format. Unknown formats accept everything."""
    check = FORMATS.get(format_.replace("-", "") if format_ == "date-time" else format_)
    return check is None or check(text)


def _tried(parse: Callable[[str], object]) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            parse(text)
        except (ValueError, binascii.Error):
            return False
        return True

    return check


def _matches(pattern: str | re.Pattern[str]) -> Callable[[str], bool]:
    compiled = re.compile(pattern)
    return lambda text: compiled.fullmatch(text) is not None


def _is_date_time(text: str) -> bool:
    return _DATE_TIME.fullmatch(text) is not None and _tried(datetime.fromisoformat)(text.upper())


def _is_date(text: str) -> bool:
    return len(text) == 10 and _tried(date.fromisoformat)(text)


def _is_duration(text: str) -> bool:
    if _GO_DURATION.fullmatch(text):
        return True
    parts = _WORDY_DURATION.findall(text)
    return bool(parts) and all(_DURATION_WORDS.fullmatch(unit) for _, _, unit in parts)


def _is_hostname(text: str) -> bool:
    if len(text) > 255:
        return False
    labels = text.removesuffix(".").split(".")
    if not all(_HOST_LABEL.fullmatch(label) and len(label) <= 63 for label in labels):
        return False
    return len(labels) == 1 or _TOP_LEVEL.fullmatch(labels[-1]) is not None


def _is_uri(text: str) -> bool:
    if not text or any(ord(char) <= 0x20 for char in text):
        return False
    return text.startswith("/") or bool(urlsplit(text).scheme)


def _is_isbn(text: str, digits: int) -> bool:
    body = text.replace("-", "").replace(" ", "")
    if digits == 10 and re.fullmatch(r"\d{9}[\dX]", body):
        return sum((index + 1) * (10 if char == "X" else int(char)) for index, char in enumerate(body)) % 11 == 0
    if digits == 13 and re.fullmatch(r"\d{13}", body):
        return sum(int(char) * (1 if index % 2 == 0 else 3) for index, char in enumerate(body)) % 10 == 0
    return False


def _is_credit_card(text: str) -> bool:
    body = re.sub(r"[- ]", "", text)
    if _CREDIT_CARD.fullmatch(body) is None:
        return False
    doubled = [int(char) * (2 if index % 2 else 1) for index, char in enumerate(reversed(body))]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0


FORMATS: dict[str, Callable[[str], bool]] = {
    "bsonobjectid": _matches(r"[0-9a-fA-F]{24}"),
    "byte": _tried(lambda text: base64.b64decode(text, validate=True)),
    "cidr": _tried(lambda text: ipaddress.ip_network(text, strict=False) if "/" in text else int("")),
    "creditcard": _is_credit_card,
    "date": _is_date,
    "datetime": _is_date_time,
    "duration": _is_duration,
    "email": _matches(_EMAIL),
    "hexcolor": _matches(r"#?([0-9a-fA-F]{3}|[0-9a-fA-F]{6})"),
    "hostname": _is_hostname,
    "ipv4": _tried(ipaddress.IPv4Address),
    "ipv6": _tried(ipaddress.IPv6Address),
    "isbn": lambda text: _is_isbn(text, 10) or _is_isbn(text, 13),
    "isbn10": lambda text: _is_isbn(text, 10),
    "isbn13": lambda text: _is_isbn(text, 13),
    "k8s-long-name": lambda text: len(text) <= 253 and _LONG_NAME.fullmatch(text) is not None,
    "k8s-short-name": lambda text: len(text) <= 63 and _SHORT_NAME.fullmatch(text) is not None,
    "mac": _matches(_MAC),
    "password": lambda text: True,
    "rgbcolor": _matches(rf"rgb\({_COLOR},{_COLOR},{_COLOR}\)"),
    "ssn": _matches(r"\d{3}[- ]?\d{2}[- ]?\d{4}"),
    "uri": _is_uri,
} | {name: _matches(pattern) for name, pattern in _UUIDS.items()}

KNOWN = frozenset(FORMATS) | {"date-time", "int32", "int64", "float", "double", ""}
"""Formats that the API server recognises; others draw a warning."""
