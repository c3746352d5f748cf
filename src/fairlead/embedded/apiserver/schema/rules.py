"""`x-kubernetes-validations`: CEL rules on nodes of a structural schema.

Rules see `self` and, on updates, `oldSelf` as CEL objects of the node's type: property names are escaped into
identifiers, numbers are doubles, times and durations are CEL's own. A node's rules are compiled when they first run.
"""

from __future__ import annotations

import base64
import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from fairlead.embedded.apiserver.invalid import FieldError, go_value, invalid
from fairlead.embedded.apiserver.schema.node import UNSET, Schema
from fairlead.kube import cel

_RESERVED = re.compile(
    "true|false|null|in|as|break|const|continue|else|for|function|if|import|let|loop|package|namespace|return|var|void"
    "|while"
)
_ESCAPES = (("__", "__underscores__"), (".", "__dot__"), ("-", "__dash__"), ("/", "__slash__"))
_QUOTED_KEY = re.compile(r"\['((?:[^'\\]|\\.)*)'\]")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_REASONS = {"FieldValueRequired": "Required value", "FieldValueForbidden": "Forbidden"}
_DURATION_UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(h|ms|m|s|us|µs|ns)")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule as written."""

    rule: str
    message: str = ""
    message_expression: str = ""
    reason: str = ""
    field_path: str = ""
    optional_old_self: bool = False
    says_optional_old_self: bool = False
    """Whether `optionalOldSelf` is given at all."""

    @classmethod
    def of(cls, source: Mapping[str, Any]) -> Rule:
        return cls(
            rule=source.get("rule") or "",
            message=source.get("message") or "",
            message_expression=source.get("messageExpression") or "",
            reason=source.get("reason") or "",
            field_path=source.get("fieldPath") or "",
            optional_old_self=bool(source.get("optionalOldSelf")),
            says_optional_old_self=source.get("optionalOldSelf") is not None,
        )

    @property
    def default_message(self) -> str:
        return self.message.strip() or f"failed rule: {self.rule.strip()}"


@dataclass(frozen=True, slots=True)
class CompiledRule:
    source: Rule
    program: cel.Program
    message_program: cel.Program | None
    uses_old_self: bool


@dataclass(slots=True, eq=False)
class RuleSet:
    """The rules of one schema node."""

    node: Schema
    is_root: bool
    sources: tuple[Rule, ...]
    _compiled: tuple[CompiledRule, ...] | None = None

    def compiled(self) -> tuple[CompiledRule, ...]:
        """Raises CompileError (never for a definition that was admitted)."""
        if self._compiled is None:
            self._compiled = tuple(compile_rule(rule, self.node, is_root=self.is_root) for rule in self.sources)
        return self._compiled


def compile_rules(sources: Sequence[Mapping[str, Any]], node: Schema, *, is_root: bool) -> tuple[RuleSet, ...]:
    """A node's rules, as its constraints hold them."""
    return (RuleSet(node, is_root, tuple(Rule.of(source) for source in sources if source.get("rule"))),)


def compile_rule(rule: Rule, node: Schema, *, is_root: bool) -> CompiledRule:
    """Raises CompileError with the compiler's message; `MessageExpressionError` when the message is at fault."""
    environment = rule_environment(node, is_root, rule.optional_old_self)
    program = environment.compile(rule.rule)
    message_program = None
    if rule.message_expression:
        try:
            message_program = environment.compile(rule.message_expression)
        except cel.CompileError as error:
            raise MessageExpressionError(str(error)) from error
    return CompiledRule(rule, program, message_program, program.uses("oldSelf"))


class MessageExpressionError(cel.CompileError):
    """The rule compiles, its `messageExpression` does not."""


@functools.lru_cache(maxsize=256)
def rule_environment(node: Schema, is_root: bool, optional_old_self: bool) -> cel.Environment:
    self_type = cel_type(node, is_root=is_root) or cel.DYN
    optional = ("oldSelf",) if optional_old_self else ()
    return cel.Environment({"self": self_type, "oldSelf": self_type}, optional=optional)


def escape(name: str) -> str | None:
    """A property name as an identifier of CEL; None where it cannot be one."""
    if _RESERVED.fullmatch(name):
        return f"__{name}__"
    for text, replacement in _ESCAPES:
        name = name.replace(text, replacement)
    return name if _IDENTIFIER.fullmatch(name) else None


def cel_type(node: Schema, *, is_root: bool = False) -> cel.Type | None:
    """The CEL type of a node; None where it has none (values of unknown shape)."""
    if node.format == "int-or-string":
        return cel.DYN
    if node.type == "object":
        return _object_type(node, is_root=is_root or node.embedded_resource)
    if node.type == "array":
        items = cel_type(node.items) if node.items is not None else None
        return None if items is None else cel.ListOf(items=items)
    if node.type == "string":
        return _STRING_TYPES.get(node.format, cel.STRING)
    return {"integer": cel.INT, "number": cel.DOUBLE, "boolean": cel.BOOL}.get(node.type)


_STRING_TYPES = {
    "byte": cel.BYTES,
    "date": cel.TIMESTAMP,
    "date-time": cel.TIMESTAMP,
    "duration": cel.DURATION,
}


def _object_type(node: Schema, *, is_root: bool) -> cel.Type | None:
    if node.additional is not None:
        values = cel_type(node.additional)
        return None if values is None else cel.MapOf(values=values)
    fields: dict[str, cel.Type] = {}
    for name, child in node.properties.items():
        if is_root and name in ("apiVersion", "kind", "metadata"):
            continue
        type_, escaped = cel_type(child), escape(name)
        if type_ is not None and escaped is not None:
            fields[escaped] = type_
    if is_root:
        metadata = cel.Struct("ObjectMeta", fields={"name": cel.STRING, "generateName": cel.STRING})
        fields |= {"apiVersion": cel.STRING, "kind": cel.STRING, "metadata": metadata}
    return cel.Struct("Object", fields=fields)


def cel_value(value: Any, node: Schema, *, is_root: bool = False) -> Any:
    """A JSON value as rules see it."""
    if value is None:
        return None
    if node.type == "object" and isinstance(value, dict):
        return _cel_object(value, node, is_root=is_root or node.embedded_resource)
    if node.type == "array" and isinstance(value, list) and node.items is not None:
        return [cel_value(item, node.items) for item in value]
    if node.type == "number" and isinstance(value, int):
        return float(value)
    if node.type == "integer" and isinstance(value, float):
        return int(value)
    if node.type == "string" and node.format in _STRING_TYPES and isinstance(value, str):
        return _parsed(value, node.format)
    return value


def _cel_object(value: dict[str, Any], node: Schema, *, is_root: bool) -> dict[str, Any]:
    if node.additional is not None:
        return {name: cel_value(item, node.additional) for name, item in value.items()}
    converted: dict[str, Any] = {}
    for name, item in value.items():
        if is_root and name in ("apiVersion", "kind", "metadata"):
            converted[name] = item
            continue
        child, escaped = node.properties.get(name), escape(name)
        if child is not None and escaped is not None and item is not None:
            converted[escaped] = cel_value(item, child)
    return converted


def _parsed(text: str, format_: str) -> Any:
    try:
        if format_ == "byte":
            return base64.b64decode(text)
        if format_ == "duration":
            return cel.duration(parse_duration(text))
        moment = datetime.fromisoformat(text)
        return cel.timestamp(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    except ValueError:
        return text


def parse_duration(text: str) -> timedelta:
    """A Go duration ("1h30m", "-5ms"). Raises ValueError."""
    body = text.lstrip("+-")
    if body == "0":
        return timedelta()
    parts = _DURATION_PART.findall(body)
    if not parts or "".join(number + unit for number, unit in parts) != body:
        raise ValueError(f"invalid duration {text!r}")
    seconds = sum(float(number) * _DURATION_UNITS_S[unit] for number, unit in parts)
    return timedelta(seconds=-seconds if text.startswith("-") else seconds)


def evaluate_rules(rule_set: RuleSet, path: str, value: Any, old: Any) -> list[FieldError]:
    """The errors of one node's rules. `old` is UNSET where the old object has no such value."""
    errors: list[FieldError] = []
    node = rule_set.node
    bindings = {"self": cel_value(value, node, is_root=rule_set.is_root)}
    has_old = old is not UNSET and old is not None
    if has_old:
        bindings["oldSelf"] = cel_value(old, node, is_root=rule_set.is_root)
    try:
        compiled_rules = rule_set.compiled()
    except cel.CompileError as error:
        return [invalid(path or "<nil>", node.type, f"rule compile error: compilation failed: {error}")]
    for compiled in compiled_rules:
        rule = compiled.source
        if compiled.uses_old_self and not has_old and not rule.optional_old_self:
            continue
        try:
            holds = compiled.program.evaluate(bindings)
        except cel.EvaluationError as error:
            errors.append(invalid(path or "<nil>", node.type, _evaluation_message(error, rule)))
            continue
        if holds is not True and not (_unchanged(value, old) and not compiled.uses_old_self):
            errors.append(_rule_error(compiled, path, value, node, bindings))
    return errors


def _unchanged(value: Any, old: Any) -> bool:
    return old is not UNSET and value == old


def _evaluation_message(error: cel.EvaluationError, rule: Rule) -> str:
    text = str(error)
    shown = (rule.message or rule.rule).strip()
    if text.startswith("no such overload"):
        mismatch = "call arguments did not match a supported operator, function or macro signature for rule"
        return f"'{text}': {mismatch}: {shown}"
    if isinstance(error, cel.BudgetExceeded):
        return f"'{text}': no further validation rules will be run due to call cost exceeds limit for rule: {shown}"
    return f"{text} evaluating rule: {shown}"


def _rule_error(compiled: CompiledRule, path: str, value: Any, node: Schema, bindings: Mapping[str, Any]) -> FieldError:
    rule = compiled.source
    detail = rule.default_message
    if compiled.message_program is not None:
        detail = _dynamic_message(compiled.message_program, bindings) or detail
    if rule.field_path:
        path = (path + _QUOTED_KEY.sub(r"[\1]", rule.field_path)).removeprefix(".")
    path = path or "<nil>"
    reason = rule.reason or "FieldValueInvalid"
    if reason in _REASONS:
        return FieldError(reason, path, f"{_REASONS[reason]}: {detail}")
    if reason == "FieldValueDuplicate":
        shown = go_value(value) if node.type not in ("object", "array") else ""
        return FieldError(reason, path, f"Duplicate value: {shown}" if shown else "Duplicate value")
    shown = "" if node.type in ("object", "array") else f"{go_value(value)}: "
    return FieldError("FieldValueInvalid", path, f"Invalid value: {shown}{detail}")


def _dynamic_message(program: cel.Program, bindings: Mapping[str, Any]) -> str:
    try:
        text = program.evaluate(bindings)
    except cel.EvaluationError:
        return ""
    return text.strip() if isinstance(text, str) and "\n" not in text.strip() else ""
