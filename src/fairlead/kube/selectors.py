"""Label and field selectors: the query strings of lists and watches, and LabelSelector objects.

Syntax, matching and the texts of errors follow `k8s.io/apimachinery/pkg/labels` and `…/pkg/fields`, so that the
embedded API server refuses a selector in the words that a cluster would use.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fairlead.kube.names import label_key_errors, label_value_errors

_BINARY_OPERATORS: Final = "in, notin, =, ==, !=, gt, lt"
_OPERATOR_OF_TOKEN: Final = {
    "in": "in", "notin": "notin", "=": "=", "==": "==", "!=": "!=", ">": "gt", "<": "lt",
}  # fmt: skip
_TEXT_OF_OPERATOR: Final = {"gt": ">", "lt": "<"}
_OPERATOR_OF_OBJECT: Final = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}
_TOKEN = re.compile(r"[ \t\r\n]*(==|!=|[=!(),<>]|[^=!(),<> \t\r\n]+)")
_SYMBOLS: Final = frozenset(["=", "==", "!=", "!", "(", ")", ",", "<", ">"])
_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on a label. `operator` is one of =, ==, !=, in, notin, exists, !, gt, lt."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "=" | "==" | "in":
                return value is not None and value in self.values
            case "!=" | "notin":
                return value is None or value not in self.values
            case "exists":
                return value is not None
            case "!":
                return value is None
        if value is None or not _INTEGER.fullmatch(value):
            return False
        return int(value) > int(self.values[0]) if self.operator == "gt" else int(value) < int(self.values[0])

    def __str__(self) -> str:
        if self.operator == "exists":
            return self.key
        if self.operator == "!":
            return f"!{self.key}"
        if self.operator in ("in", "notin"):
            return f"{self.key} {self.operator} ({','.join(sorted(self.values))})"
        return f"{self.key}{_TEXT_OF_OPERATOR.get(self.operator, self.operator)}{self.values[0]}"


@dataclass(frozen=True, slots=True)
class Selector:
    """A conjunction of label requirements, ordered by key. With none it matches everything, unless `nothing` is set."""

    requirements: tuple[Requirement, ...] = ()
    nothing: bool = False

    def matches(self, labels: Mapping[str, str] | None) -> bool:
        if self.nothing:
            return False
        labels = labels or {}
        return all(requirement.matches(labels) for requirement in self.requirements)

    @property
    def is_everything(self) -> bool:
        return not self.requirements and not self.nothing

    def __str__(self) -> str:
        return ",".join(map(str, self.requirements))


EVERYTHING: Final = Selector()
NOTHING: Final = Selector(nothing=True)


def parse_label_selector(text: str) -> Selector:
    """The selector of a `labelSelector` query parameter. Raises ValueError in the API server's words."""
    return _selector(_LabelParser(text).requirements())


def from_labels(labels: Mapping[str, str] | None) -> Selector:
    """The selector of an equality map such as a Service's `spec.selector`. Values are not validated."""
    return _selector(Requirement(key, "=", (value,)) for key, value in (labels or {}).items())


def from_label_selector(obj: Mapping[str, Any] | None) -> Selector:
    """The selector of a LabelSelector object: None matches nothing, an empty one everything. Raises ValueError."""
    if obj is None:
        return NOTHING
    found = [_requirement(key, "=", (value,)) for key, value in (obj.get("matchLabels") or {}).items()]
    for expression in obj.get("matchExpressions") or ():
        operator = _OPERATOR_OF_OBJECT.get(expression.get("operator", ""))
        if operator is None:
            raise ValueError(f"{json.dumps(expression.get('operator', ''))} is not a valid label selector operator")
        found.append(_requirement(expression.get("key", ""), operator, tuple(expression.get("values") or ())))
    return _selector(found)


@dataclass(frozen=True, slots=True)
class FieldRequirement:
    """One condition on a field: `operator` is "=" or "!="."""

    field: str
    operator: str
    value: str


@dataclass(frozen=True, slots=True)
class FieldSelector:
    """A conjunction of field requirements."""

    requirements: tuple[FieldRequirement, ...] = ()

    def matches(self, get: Callable[[str], str]) -> bool:
        """Whether the object whose field at a path is `get(path)` is selected."""
        return all((get(r.field) == r.value) == (r.operator == "=") for r in self.requirements)

    def exact(self, field: str) -> str | None:
        """The one value that `field` must have, or None where any may do."""
        return next((r.value for r in self.requirements if r.field == field and r.operator == "="), None)

    def __str__(self) -> str:
        return ",".join(f"{r.field}{r.operator}{escape_field_value(r.value)}" for r in self.requirements)


def parse_field_selector(text: str) -> FieldSelector:
    """The selector of a `fieldSelector` query parameter. Raises ValueError in the API server's words."""
    found = []
    for term in sorted(_split_terms(text)):
        if not term:
            continue
        match = re.search(r"!=|==|=", term)
        if match is None:
            raise ValueError(f"invalid selector: '{text}'; can't understand '{term}'")
        operator = "!=" if match[0] == "!=" else "="
        found.append(FieldRequirement(term[: match.start()], operator, _unescape(term[match.end() :])))
    return FieldSelector(tuple(found))


def escape_field_value(value: str) -> str:
    """`value` with the characters escaped that separate terms of a field selector."""
    return re.sub(r"([\\,=])", r"\\\1", value)


def _split_terms(text: str) -> Sequence[str]:
    return re.findall(r"(?:^|(?<=,))((?:\\.|[^\\,]|\\$)*)(?:,|$)", text, re.DOTALL) if "\\" in text else text.split(",")


def _unescape(value: str) -> str:
    if not any(c in value for c in "\\,="):
        return value
    result: list[str] = []
    characters = iter(value)
    for character in characters:
        if character == "\\":
            escaped = next(characters, "")
            if escaped not in ("\\", ",", "="):
                raise ValueError(f"invalid field selector: invalid escape sequence: \\{escaped}")
            result.append(escaped)
        elif character in ",=":
            raise ValueError(f"invalid field selector: unescaped character in value: {ord(character)}")
        else:
            result.append(character)
    return "".join(result)


def _selector(requirements: Iterable[Requirement]) -> Selector:
    return Selector(tuple(sorted(requirements, key=lambda r: r.key)))


def _go_strings(values: Sequence[str]) -> str:
    return json.dumps(list(values), separators=(",", ":"), ensure_ascii=False)


def _requirement(key: str, operator: str, values: tuple[str, ...]) -> Requirement:
    """A validated requirement. Raises ValueError with all complaints."""
    errors = (
        [f"key: Invalid value: {json.dumps(key, ensure_ascii=False)}: {'; '.join(e)}"]
        if (e := label_key_errors(key))
        else []
    )
    errors += _value_count_errors(operator, values)
    if operator in ("gt", "lt"):
        errors += [
            f"values[{i}]: Invalid value: {json.dumps(value)}: for 'Gt', 'Lt' operators, the value must be an integer"
            for i, value in enumerate(values)
            if not (_INTEGER.fullmatch(value) and -(2**63) <= int(value) < 2**63)
        ]
    for i, value in enumerate(values):
        if complaints := label_value_errors(value):
            shown = json.dumps(value, ensure_ascii=False)
            errors.append(f"values[{i}][{key}]: Invalid value: {shown}: {'; '.join(complaints)}")
    if errors:
        raise ValueError(errors[0] if len(errors) == 1 else f"[{', '.join(dict.fromkeys(errors))}]")
    return Requirement(key, operator, values)


def _value_count_errors(operator: str, values: Sequence[str]) -> list[str]:
    complaint = ""
    if operator in ("in", "notin"):
        complaint = "" if values else "for 'in', 'notin' operators, values set can't be empty"
    elif operator in ("exists", "!"):
        complaint = "values set must be empty for exists and does not exist" if values else ""
    elif len(values) != 1:
        complaint = (
            "for 'Gt', 'Lt' operators, exactly one value is required"
            if operator in ("gt", "lt")
            else "exact-match compatibility requires one single value"
        )
    return [f"values: Invalid value: {_go_strings(values)}: {complaint}"] if complaint else []


class _LabelParser:
    """Recursive descent over the tokens of a label selector; "" is the end of the text."""

    def __init__(self, text: str) -> None:
        self._tokens = [match[1] for match in _TOKEN.finditer(text)]
        self._position = 0

    def requirements(self) -> list[Requirement]:
        found: list[Requirement] = []
        while self._peek():
            if not self._is_identifier(self._peek()) and self._peek() != "!":
                raise ValueError(f"found '{self._peek()}', expected: !, identifier, or 'end of string'")
            try:
                found.append(self._requirement())
            except ValueError as error:
                raise ValueError(f"unable to parse requirement: {error}") from None
            separator = self._next()
            if not separator:
                break
            if separator != ",":
                raise ValueError(f"found '{separator}', expected: ',' or 'end of string'")
            if not self._is_identifier(self._peek()) and self._peek() != "!":
                raise ValueError(f"found '{self._peek()}', expected: identifier after ','")
        return found

    def _requirement(self) -> Requirement:
        absent = self._peek() == "!"
        if absent:
            self._next()
        key = self._next()
        if not self._is_identifier(key):
            raise ValueError(f"found '{key}', expected: identifier")
        if complaints := label_key_errors(key):
            shown = json.dumps(key, ensure_ascii=False)
            raise ValueError(f"<nil>: Invalid value: {shown}: {'; '.join(complaints)}")
        if absent:
            return _requirement(key, "!", ())
        if self._peek() in ("", ","):
            return _requirement(key, "exists", ())
        token = self._next()
        operator = _OPERATOR_OF_TOKEN.get(token)
        if operator is None:
            raise ValueError(f"found '{token}', expected: {_BINARY_OPERATORS}")
        values = self._value_set() if operator in ("in", "notin") else self._exact_value()
        return _requirement(key, operator, values)

    def _exact_value(self) -> tuple[str, ...]:
        if self._peek() in ("", ","):
            return ("",)
        value = self._next()
        if not self._is_identifier(value):
            raise ValueError(f"found '{value}', expected: identifier")
        return (value,)

    def _value_set(self) -> tuple[str, ...]:
        opening = self._next()
        if opening != "(":
            raise ValueError(f"found '{opening}' expected: '('")
        first = self._peek()
        if first == ")":
            self._next()
            return ("",)
        if first != "," and not self._is_identifier(first):
            raise ValueError(f"found '{first}', expected: ',', ')' or identifier")
        values: set[str] = set()
        while True:
            token = self._next()
            if self._is_identifier(token):
                values.add(token)
                if self._peek() == ")":
                    break
                if self._peek() != ",":
                    raise ValueError(f"found '{self._peek()}', expected: ',' or ')'")
            elif token == ",":
                if not values or self._peek() in (",", ")"):
                    values.add("")
                if self._peek() == ")":
                    break
            else:
                raise ValueError(f"found '{token}', expected: ',', or identifier")
        self._next()
        return tuple(sorted(values))

    @staticmethod
    def _is_identifier(token: str) -> bool:
        return bool(token) and token not in _SYMBOLS

    def _peek(self) -> str:
        return self._tokens[self._position] if self._position < len(self._tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        self._position += 1
        return token
