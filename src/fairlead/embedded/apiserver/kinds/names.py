"""The string rules of Kubernetes names, labels, keys and ports, with the API's own messages.

Each rule takes a string and returns the messages of what is wrong with it: an empty tuple says it is valid. Rules used
on every write are cached, because the same names come again and again.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from ipaddress import IPv6Address, ip_address, ip_network

from fairlead.kube.names import regex_message

Messages = tuple[str, ...]
Rule = Callable[[str], Messages]

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_LABEL_UNDERSCORE = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?"
_SUBDOMAIN_UNDERSCORE = rf"{_LABEL_UNDERSCORE}(\.{_LABEL_UNDERSCORE})*"
_DNS1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_WILDCARD = rf"\*\.{_SUBDOMAIN}"
_LABEL_KEY = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE = f"({_LABEL_KEY})?"
_C_IDENTIFIER = "[A-Za-z_][A-Za-z0-9_]*"
_ENV_NAME = "[-._a-zA-Z][-._a-zA-Z0-9]*"
_CONFIG_KEY = "[-._a-zA-Z0-9]+"
_PERCENT = "[0-9]+%"
_HTTP_HEADER = "[-A-Za-z0-9]+"
_CONDITION_REASON = "[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?"

_label_matches = re.compile(_LABEL).fullmatch
_subdomain_matches = re.compile(_SUBDOMAIN).fullmatch
_subdomain_underscore_matches = re.compile(_SUBDOMAIN_UNDERSCORE).fullmatch
_dns1035_matches = re.compile(_DNS1035).fullmatch
_wildcard_matches = re.compile(_WILDCARD).fullmatch
_label_key_matches = re.compile(_LABEL_KEY).fullmatch
_label_value_matches = re.compile(_LABEL_VALUE).fullmatch
_c_identifier_matches = re.compile(_C_IDENTIFIER).fullmatch
_env_name_matches = re.compile(_ENV_NAME).fullmatch
_relaxed_env_name_matches = re.compile(r"[ -<>-~]*").fullmatch
_config_key_matches = re.compile(_CONFIG_KEY).fullmatch
_percent_matches = re.compile(_PERCENT).fullmatch
_http_header_matches = re.compile(_HTTP_HEADER).fullmatch
_condition_reason_matches = re.compile(_CONDITION_REASON).fullmatch
_port_name_charset_matches = re.compile("[-a-z0-9]+").fullmatch
_letter_found = re.compile("[a-z]").search

_CACHED = 8192


def max_length_message(limit: int) -> str:
    return f"must be no more than {limit} characters"


def max_bytes_message(limit: int) -> str:
    return f"must be no more than {limit} bytes"


def range_message(low: int, high: int) -> str:
    return f"must be between {low} and {high}, inclusive"


_LABEL_MESSAGE = regex_message(
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end "
    "with an alphanumeric character",
    _LABEL,
    "my-name",
    "123-abc",
)
_SUBDOMAIN_MESSAGE = regex_message(
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start "
    "and end with an alphanumeric character",
    _SUBDOMAIN,
    "example.com",
)
_LABEL_KEY_RULE = (
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
)


@lru_cache(_CACHED)
def dns_label(value: str) -> Messages:
    """RFC 1123 label: names of namespaces, containers, volumes."""
    errors = (max_length_message(63),) if len(value) > 63 else ()
    if _label_matches(value):
        return errors
    return (*errors, "must not contain dots" if _subdomain_matches(value) else _LABEL_MESSAGE)


@lru_cache(_CACHED)
def dns_subdomain(value: str) -> Messages:
    """RFC 1123 subdomain: names of most objects."""
    errors = (max_length_message(253),) if len(value) > 253 else ()
    return errors if _subdomain_matches(value) else (*errors, _SUBDOMAIN_MESSAGE)


def dns_subdomain_with_underscore(value: str) -> Messages:
    """A subdomain whose labels may start with or contain an underscore: search domains."""
    errors = (max_length_message(253),) if len(value) > 253 else ()
    if _subdomain_underscore_matches(value):
        return errors
    message = (
        "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', and must "
        "start and end with an alphanumeric character"
    )
    return (*errors, regex_message(message, _SUBDOMAIN_UNDERSCORE, "example.com"))


@lru_cache(_CACHED)
def dns1035_label(value: str) -> Messages:
    """RFC 1035 label: names of services."""
    errors = (max_length_message(63),) if len(value) > 63 else ()
    if _dns1035_matches(value):
        return errors
    message = (
        "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
        "character, and end with an alphanumeric character"
    )
    return (*errors, regex_message(message, _DNS1035, "my-name", "abc-123"))


def wildcard_subdomain(value: str) -> Messages:
    """`*.` and a subdomain: hosts of Ingresses."""
    errors = (max_length_message(253),) if len(value) > 253 else ()
    if _wildcard_matches(value):
        return errors
    message = (
        "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of "
        "lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character"
    )
    return (*errors, regex_message(message, _WILDCARD, "*.example.com"))


@lru_cache(_CACHED)
def qualified_name(value: str) -> Messages:
    """Label and annotation keys, finalizers, resource names: an optional DNS prefix, `/`, and a name part."""
    prefix, slash, name = value.rpartition("/")
    if "/" in prefix:
        return (
            "a valid label key "
            + regex_message(_LABEL_KEY_RULE, _LABEL_KEY, "MyName", "my.name", "123-abc")
            + " with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')",
        )
    errors: list[str] = []
    if slash and not prefix:
        errors.append("prefix part must be non-empty")
    elif slash:
        if len(prefix) > 253:
            errors.append("prefix part " + max_bytes_message(253))
        if not _subdomain_matches(prefix):
            errors.append("prefix part " + _SUBDOMAIN_MESSAGE)
    if not name:
        errors.append("name part must be non-empty")
    elif len(name.encode()) > 63:
        errors.append("name part " + max_bytes_message(63))
    if not _label_key_matches(name):
        errors.append("name part " + regex_message(_LABEL_KEY_RULE, _LABEL_KEY, "MyName", "my.name", "123-abc"))
    return tuple(errors)


@lru_cache(_CACHED)
def label_value(value: str) -> Messages:
    errors = (max_bytes_message(63),) if len(value.encode()) > 63 else ()
    if _label_value_matches(value):
        return errors
    message = (
        "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start "
        "and end with an alphanumeric character"
    )
    return (*errors, regex_message(message, _LABEL_VALUE, "MyValue", "my_value", "12345"))


def c_identifier(value: str) -> Messages:
    if _c_identifier_matches(value):
        return ()
    message = (
        "a valid C identifier must start with alphabetic character or '_', followed by a string of alphanumeric "
        "characters or '_'"
    )
    return (regex_message(message, _C_IDENTIFIER, "my_name", "MY_NAME", "MyName"),)


def condition_reason(value: str) -> Messages:
    if _condition_reason_matches(value):
        return ()
    message = (
        "a condition reason must start with alphabetic character, optionally followed by a string of alphanumeric "
        "characters or '_,:', and must end with an alphanumeric character or '_'"
    )
    return (
        regex_message(message, _CONDITION_REASON, "my_name", "MY_NAME", "MyName", "ReasonA,ReasonB", "ReasonA:ReasonB"),
    )


def _change_directory_prefix(value: str) -> Messages:
    if value in (".", ".."):
        return (f"must not be '{value}'",)
    return ("must not start with '..'",) if value.startswith("..") else ()


@lru_cache(_CACHED)
def relaxed_env_name(value: str) -> Messages:
    """Names of environment variables as pods may carry them: any printable ASCII but `=`."""
    errors = () if value else ("environment variable name must be non-empty",)
    if _relaxed_env_name_matches(value):
        return errors
    return (*errors, "a valid environment variable name must consist only of printable ASCII characters other than '='")


def env_name(value: str) -> Messages:
    """Names of environment variables by the older, strict rule."""
    errors: Messages = ()
    if not _env_name_matches(value):
        message = (
            "a valid environment variable name must consist of alphabetic characters, digits, '_', '-', or '.', and "
            "must not start with a digit"
        )
        errors = (regex_message(message, _ENV_NAME, "my.env-name", "MY_ENV.NAME", "MyEnvName1"),)
    return errors + _change_directory_prefix(value)


@lru_cache(_CACHED)
def config_map_key(value: str) -> Messages:
    """Keys of ConfigMaps and Secrets, which become file names."""
    errors = (max_length_message(253),) if len(value) > 253 else ()
    if not _config_key_matches(value):
        message = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'"
        errors = (*errors, regex_message(message, _CONFIG_KEY, "key.name", "KEY_NAME", "key-name"))
    return errors + _change_directory_prefix(value)


def percent(value: str) -> Messages:
    if _percent_matches(value):
        return ()
    message = "a valid percent string must be a numeric string followed by an ending '%'"
    return (regex_message(message, _PERCENT, "1%", "93%"),)


def http_header_name(value: str) -> Messages:
    if _http_header_matches(value):
        return ()
    message = "a valid HTTP header must consist of alphanumeric characters or '-'"
    return (regex_message(message, _HTTP_HEADER, "X-Header-Name"),)


def port_number(value: int) -> Messages:
    return () if 1 <= value <= 65535 else (range_message(1, 65535),)


@lru_cache(_CACHED)
def port_name(value: str) -> Messages:
    """IANA service names: names of container and service target ports."""
    errors: list[str] = []
    if len(value) > 15:
        errors.append(max_length_message(15))
    if not _port_name_charset_matches(value):
        errors.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not _letter_found(value):
        errors.append("must contain at least one letter (a-z)")
    if "--" in value:
        errors.append("must not contain consecutive hyphens")
    if value.startswith("-") or value.endswith("-"):
        errors.append("must not begin or end with a hyphen")
    return tuple(errors)


def path_segment(value: str) -> Messages:
    """Names that only have to fit into a URL path: roles, bindings, webhooks' configurations."""
    if value in (".", ".."):
        return (f"may not be '{value}'",)
    return tuple(f"may not contain '{part}'" for part in "/%" if part in value)


_leading_zero_found = re.compile(r"(^|\.)0[0-9]").search


def ip(value: str) -> Messages:
    """An IPv4 or IPv6 address without leading zeros."""
    if _leading_zero_found(value):
        try:
            ip_address(".".join(part.lstrip("0") or "0" for part in value.split(".")))
        except ValueError:
            return (_IP_MESSAGE,)
        return ("must not have leading 0s",)
    try:
        address = ip_address(value) if "%" not in value else None
    except ValueError:
        address = None
    if address is None:
        return (_IP_MESSAGE,)
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return ("must not be an IPv4-mapped IPv6 address",)
    return ()


_IP_MESSAGE = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
_CIDR_MESSAGE = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"


def cidr(value: str) -> Messages:
    """A network with its prefix length, no bits set beyond it."""
    address, slash, length = value.partition("/")
    if not slash or not length.isascii() or not length.isdigit():
        return (_CIDR_MESSAGE,)
    messages = ip(address)
    if messages == (_IP_MESSAGE,):
        return (_CIDR_MESSAGE,)
    if messages == ("must not have leading 0s",) or (length != "0" and length.startswith("0")):
        return ("must not have leading 0s in IP or prefix length",)
    try:
        network = ip_network(value, strict=False)
    except ValueError:
        return (_CIDR_MESSAGE,)
    if messages:
        return ("must not have an IPv4-mapped IPv6 address",)
    return (
        () if network.network_address == ip_address(address) else ("must not have bits set beyond the prefix length",)
    )


def special_ip(value: str) -> Messages:
    """Why an address cannot be an endpoint: unspecified, loopback and link-local ones mean nothing to others."""
    address = ip_address(value)
    if address.is_unspecified:
        return (f"may not be unspecified ({value})",)
    if address.is_loopback:
        return ("may not be in the loopback range (127.0.0.0/8, ::1/128)",)
    if address.is_link_local:
        return ("may not be in the link-local range (169.254.0.0/16, fe80::/10)",)
    if address.is_multicast and (value.startswith("224.0.0.") or value.lower().startswith("ff02:")):
        return ("may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)",)
    return ()
