"""The syntax of names, label keys and label values, with the API server's words for what is wrong.

Each function returns the complaints, none for a valid value. Rules and wording are those of
`k8s.io/apimachinery/pkg/api/validate/content`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

_DNS_LABEL: Final = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_DNS_SUBDOMAIN: Final = _DNS_LABEL + r"(\." + _DNS_LABEL + ")*"
_QUALIFIED_NAME: Final = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_LABEL_VALUE: Final = "(" + _QUALIFIED_NAME + ")?"

_DNS_LABEL_RE = re.compile(_DNS_LABEL)
_DNS_SUBDOMAIN_RE = re.compile(_DNS_SUBDOMAIN)
_QUALIFIED_NAME_RE = re.compile(_QUALIFIED_NAME)
_LABEL_VALUE_RE = re.compile(_LABEL_VALUE)

_ALPHANUMERIC: Final = "alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character"
_QUALIFIED_NAME_MESSAGE: Final = f"must consist of {_ALPHANUMERIC}"


def regex_message(message: str, pattern: str, *examples: str) -> str:
    """A complaint that quotes the pattern and examples, in the API's form."""
    if not examples:
        return f"{message} (regex used for validation is '{pattern}')"
    shown = " or ".join(f"'{example}', " for example in examples)
    return f"{message} (e.g. {shown}regex used for validation is '{pattern}')"


def max_length_message(length_bytes: int) -> str:
    return f"must be no more than {length_bytes} bytes"


def dns_label_errors(value: str) -> Sequence[str]:
    """RFC 1123 label: names of namespaces, containers, ports of pods."""
    errors = [max_length_message(63)] if _length(value) > 63 else []
    if not _DNS_LABEL_RE.fullmatch(value):
        if _DNS_SUBDOMAIN_RE.fullmatch(value):
            errors.append("must not contain dots")
        else:
            message = (
                "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start "
                "and end with an alphanumeric character"
            )
            errors.append(regex_message(message, _DNS_LABEL, "my-name", "123-abc"))
    return errors


def dns_subdomain_errors(value: str) -> Sequence[str]:
    """RFC 1123 subdomain: names of most objects."""
    errors = [max_length_message(253)] if _length(value) > 253 else []
    if not _DNS_SUBDOMAIN_RE.fullmatch(value):
        message = (
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
            "start and end with an alphanumeric character"
        )
        errors.append(regex_message(message, _DNS_SUBDOMAIN, "example.com"))
    return errors


def label_key_errors(key: str) -> Sequence[str]:
    """Label and annotation keys, finalizers and other qualified names: an optional DNS prefix, "/", and a name."""
    prefix, slash, name = key.rpartition("/")
    described = regex_message(_QUALIFIED_NAME_MESSAGE, _QUALIFIED_NAME, "MyName", "my.name", "123-abc")
    if "/" in prefix:
        return [
            f"a valid label key {described} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
        ]
    errors: list[str] = []
    if slash and not prefix:
        errors.append("prefix part must be non-empty")
    elif prefix:
        errors += [f"prefix part {error}" for error in dns_subdomain_errors(prefix)]
    if not name:
        errors.append("name part must be non-empty")
    elif _length(name) > 63:
        errors.append("name part " + max_length_message(63))
    if not _QUALIFIED_NAME_RE.fullmatch(name):
        errors.append(f"name part {described}")
    return errors


def label_value_errors(value: str) -> Sequence[str]:
    errors = [max_length_message(63)] if _length(value) > 63 else []
    if not _LABEL_VALUE_RE.fullmatch(value):
        message = f"a valid label must be an empty string or consist of {_ALPHANUMERIC}"
        errors.append(regex_message(message, _LABEL_VALUE, "MyValue", "my_value", "12345"))
    return errors


def _length(value: str) -> int:
    return len(value.encode())
