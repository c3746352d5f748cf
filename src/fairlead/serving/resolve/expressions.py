"""`${…}` in the texts of ServingRuntimes and pod template overlays: CEL over what is known of the service. Pure.

A text that is one expression and nothing else keeps the type of its result; in longer texts results become text.
`$${` stands for `${` itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Final

from fairlead.kube import cel
from fairlead.serving.resolved import Unservable

Json = dict[str, Any]

_TEXT, _NUMBER = cel.STRING, cel.INT
_TEXTS: Final = cel.MapOf(values=cel.STRING)
_VARIABLES: Final[Mapping[str, Mapping[str, cel.Type]]] = {
    "model": {
        "name": _TEXT, "source": _TEXT, "path": _TEXT, "format": _TEXT, "architecture": _TEXT,
        "aliases": cel.ListOf(items=cel.STRING), "maxContextTokens": cel.DYN,
    },
    "service": {"name": _TEXT, "namespace": _TEXT, "labels": _TEXTS, "annotations": _TEXTS},
    "role": {"name": _TEXT},
    "parallelism": dict.fromkeys(
        ("tensor", "pipeline", "data", "expert", "hosts", "devices", "devicesPerHost"), _NUMBER
    ),
    "accelerator": {
        "name": _TEXT, "deviceClass": _TEXT, "resource": _TEXT, "model": _TEXT, "count": _NUMBER,
    },
    "engine": {"name": _TEXT, "image": _TEXT, "port": _NUMBER},
}  # fmt: skip
"""Variable -> its fields. `model.path` is what the engine is told to load; `model.maxContextTokens` is there only where
the service says it."""


_POSITION: Final = re.compile(r"^(ERROR: )?<input>:\d+:\d+: ")


@dataclass(frozen=True, slots=True)
class Scope:
    """The values of the variables, for one kind of pod."""

    values: Mapping[str, Any]
    owner: str
    """Whose texts they are, for messages: `ServingRuntime vllm`; empty for the service's own."""

    def expand(self, value: Any, field: str) -> Any:
        """The value with every expression in its texts replaced; keys of objects stay. Raises Unservable."""
        if isinstance(value, str):
            return self._text(value, field) if "${" in value else value
        if isinstance(value, Mapping):
            return {key: self.expand(item, f"{field}.{key}") for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.expand(item, f"{field}[{i}]") for i, item in enumerate(value)]
        return value

    def _text(self, text: str, field: str) -> Any:
        pieces = list(_pieces(text, self, field))
        results = [self._evaluate(piece, field) if is_code else piece for piece, is_code in pieces]
        if len(pieces) == 1 and pieces[0][1]:
            return results[0]
        return "".join(self._as_text(result, piece, field) for result, (piece, _) in zip(results, pieces, strict=True))

    def _evaluate(self, expression: str, field: str) -> Any:
        try:
            return _compiled(expression).evaluate(self.values)
        except cel.CelError as error:
            raise self.refusal(field, expression, str(error)) from None

    def _as_text(self, result: Any, expression: str, field: str) -> str:
        if isinstance(result, bool):
            return "true" if result else "false"
        if isinstance(result, (str, int, float)):
            return str(result)
        raise self.refusal(
            field, expression, f"its result is a {type(result).__name__}, which has no place inside a text"
        )

    def refusal(self, field: str, expression: str, why: str) -> Unservable:
        """That an expression cannot be used, with what it could speak of."""
        known = "; ".join(f"{name}: {', '.join(fields)}" for name, fields in _VARIABLES.items())
        first = _POSITION.sub("", why.partition("\n")[0])
        where = f"{field} of {self.owner}" if self.owner else field
        return Unservable(where, f"${{{expression}}}", f"{first}. There are {known}. Write $${{ for a plain ${{")


def variables() -> Mapping[str, Mapping[str, str]]:
    """Names of variables and their fields with types, for documentation."""
    return {name: {key: kind.name for key, kind in fields.items()} for name, fields in _VARIABLES.items()}


@cache
def _environment() -> cel.Environment:
    return cel.Environment({name: cel.Struct(name, fields=fields) for name, fields in _VARIABLES.items()})


@lru_cache(maxsize=4096)
def _compiled(expression: str) -> cel.Program:
    return _environment().compile(expression)


def _pieces(text: str, scope: Scope, field: str) -> Iterator[tuple[str, bool]]:
    """Parts of a text: (text, False) or (expression, True)."""
    plain, at = "", 0
    while at < len(text):
        start = text.find("${", at)
        if start < 0:
            plain += text[at:]
            break
        if start > at and text[start - 1] == "$":
            plain += text[at : start - 1] + "${"
            at = start + 2
            continue
        plain += text[at:start]
        end = _end_of(text, start + 2)
        if end is None:
            raise scope.refusal(field, text[start + 2 :], "it has no closing brace")
        if plain:
            yield plain, False
        plain = ""
        yield text[start + 2 : end], True
        at = end + 1
    if plain:
        yield plain, False


def _end_of(text: str, start: int) -> int | None:
    """Where the brace is that closes an expression beginning at `start`: braces in CEL's texts and maps do not."""
    depth, quote, at = 0, "", start
    while at < len(text):
        char = text[at]
        if quote:
            if char == "\\":
                at += 1
            elif char == quote:
                quote = ""
        elif char in "'\"":
            quote = char
        elif char == "{":
            depth += 1
        elif char == "}":
            if depth == 0:
                return at
            depth -= 1
        at += 1
    return None
