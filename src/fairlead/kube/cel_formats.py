"""The named formats of Kubernetes' CEL `format` library: what is wrong with a text, if anything."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from datetime import date, datetime
from urllib.parse import urlsplit

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_QUALIFIED = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_UUID = re.compile(r"[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}")


def _check(pattern: re.Pattern[str], limit: int, what: str, *, prefix: bool = False) -> Callable[[str], list[str]]:
    def problems(text: str) -> list[str]:
        found = []
        if len(text) > limit:
            found.append(f"must be no more than {limit} bytes")
        shown = text[:-1] + "a" if prefix and text.endswith("-") else text
        if pattern.fullmatch(shown) is None:
            found.append(f"{what} must match '{pattern.pattern}'")
        return found

    return problems


def _qualified_name(text: str) -> list[str]:
    prefix, slash, name = text.rpartition("/")
    found = []
    if slash:
        found += [f"prefix part {problem}" for problem in FORMATS["dns1123Subdomain"](prefix)]
    if not name or len(name) > 63 or _QUALIFIED.fullmatch(name) is None:
        found.append(f"name part must be at most 63 characters and match '{_QUALIFIED.pattern}'")
    return found


def _label_value(text: str) -> list[str]:
    return [] if not text else _check(_QUALIFIED, 63, "a valid label")(text)


def _tried(parse: Callable[[str], object], what: str) -> Callable[[str], list[str]]:
    def problems(text: str) -> list[str]:
        try:
            parse(text)
        except (ValueError, binascii.Error):
            return [f"invalid {what}"]
        return []

    return problems


def _absolute_uri(text: str) -> object:
    if not urlsplit(text).scheme and not text.startswith("/"):
        raise ValueError(text)
    return text


def _date_time(text: str) -> object:
    if "T" not in text.upper():
        raise ValueError(text)
    return datetime.fromisoformat(text)


_DNS_1123 = "a lowercase RFC 1123 label"
FORMATS: dict[str, Callable[[str], list[str]]] = {
    "dns1123Label": _check(_LABEL, 63, _DNS_1123),
    "dns1123LabelPrefix": _check(_LABEL, 63, _DNS_1123, prefix=True),
    "dns1123Subdomain": _check(_SUBDOMAIN, 253, "a lowercase RFC 1123 subdomain"),
    "dns1123SubdomainPrefix": _check(_SUBDOMAIN, 253, "a lowercase RFC 1123 subdomain", prefix=True),
    "dns1035Label": _check(_DNS_1035, 63, "a DNS-1035 label"),
    "dns1035LabelPrefix": _check(_DNS_1035, 63, "a DNS-1035 label", prefix=True),
    "qualifiedName": _qualified_name,
    "labelValue": _label_value,
    "uri": _tried(_absolute_uri, "URI"),
    "uuid": _check(_UUID, 36, "a UUID"),
    "byte": _tried(lambda text: base64.b64decode(text, validate=True), "base64"),
    "date": _tried(date.fromisoformat, "date"),
    "datetime": _tried(_date_time, "datetime"),
}
