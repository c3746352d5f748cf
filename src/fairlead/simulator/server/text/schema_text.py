"""A JSON value that a JSON Schema accepts, drawn by a seeded generator.

Covers what structured outputs use: types, `properties`, `required`, `additionalProperties`, `items`, `prefixItems`,
lengths, bounds, `multipleOf`, `enum`, `const`, `pattern`, `format`, `anyOf`, `oneOf`, `allOf`, `$ref` within the
document. Recursive schemas end by taking the shortest way out. (JSON Schema 2020-12.)
"""

from __future__ import annotations

import random
from typing import Any

import msgspec

from fairlead.simulator.server.text.pattern_text import matching_text
from fairlead.simulator.server.text.words import WORDS

_DEEP = 5
"""From this depth on optional things are left out."""
_DEEPEST = 24
_MOST_VALUES = 20_000
_MOST_LENGTH = 20_000
"""What one request may cost: all streams wait while its text is made."""
_FORMATS = {
    "date-time": "2026-03-14T09:26:53Z",
    "date": "2026-03-14",
    "time": "09:26:53Z",
    "duration": "P3D",
    "email": "ada@example.com",
    "hostname": "node-1.example.com",
    "ipv4": "127.0.0.1",
    "ipv6": "::1",
    "uuid": "6f1c2a9e-4b1d-4c8e-9a57-0d2f3b4c5e6f",
    "uri": "https://example.com/a",
    "uri-reference": "/a",
}
_TYPES = ("object", "array", "string", "number", "integer", "boolean", "null")
_SHAPED_BY = {
    "object": ("properties", "required", "additionalProperties", "minProperties"),
    "array": ("items", "prefixItems", "minItems", "maxItems"),
    "string": ("pattern", "format", "minLength", "maxLength"),
    "number": ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}


class SchemaError(ValueError):
    """A schema that is malformed, or that no value satisfies."""


def json_text(schema: Any, generator: random.Random) -> str:
    """A value of the schema as compact JSON. Raises SchemaError or PatternError."""
    return msgspec.json.encode(json_value(schema, generator)).decode()


def json_value(schema: Any, generator: random.Random) -> Any:
    """A value of the schema. Raises SchemaError or PatternError."""
    return _Maker(schema, generator).value(schema, 0)


class _Maker:
    def __init__(self, root: Any, generator: random.Random) -> None:
        self._root = root
        self._random = generator
        self._values = 0

    def _affordable(self, schema: dict[str, Any], word: str) -> int:
        """A least length, if a text of it can be made while streams wait. Raises SchemaError."""
        least = int(schema.get(word, 0))
        if least > _MOST_LENGTH:
            raise SchemaError(f"{word} is {least}: at most {_MOST_LENGTH} can be generated")
        return least

    def value(self, schema: Any, depth: int) -> Any:
        self._values += 1
        if self._values > _MOST_VALUES:
            raise SchemaError(f"the schema demands more than {_MOST_VALUES} values")
        if schema is True or schema == {}:
            return self._random.choice(WORDS)
        if not isinstance(schema, dict):
            raise SchemaError(f"Invalid schema: {schema!r:.60}")
        if depth > _DEEPEST:
            raise SchemaError("the schema never ends: give its recursion a way out")
        schema = self._flat(schema, depth)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            if not schema["enum"]:
                raise SchemaError("enum is empty: no value satisfies it")
            return self._random.choice(schema["enum"])
        for word in ("anyOf", "oneOf"):
            if word in schema:
                return self._branch(schema, word, depth)
        return self._typed(schema, self._type(schema, depth), depth)

    def _typed(self, schema: dict[str, Any], type: str, depth: int) -> Any:
        if type == "object":
            return self._object(schema, depth)
        if type == "array":
            return self._array(schema, depth)
        if type == "string":
            return self._string(schema)
        if type in ("number", "integer"):
            return self._number(schema, whole=type == "integer")
        return self._random.random() < 0.5 if type == "boolean" else None

    def _flat(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        """With references followed and `allOf` merged."""
        for _ in range(_DEEPEST):
            if "$ref" in schema:
                target = self._resolve(schema["$ref"])
                schema = _merged(target, {name: each for name, each in schema.items() if name != "$ref"})
            elif "allOf" in schema:
                parts = [self._flat(part, depth) for part in schema["allOf"] if isinstance(part, dict)]
                rest = {name: each for name, each in schema.items() if name != "allOf"}
                for part in parts:
                    rest = _merged(rest, part)
                schema = rest
            else:
                return schema
        raise SchemaError("the schema refers to itself")

    def _resolve(self, reference: Any) -> dict[str, Any]:
        found = self._root
        if not isinstance(reference, str) or not reference.startswith("#"):
            raise SchemaError(f"$ref {reference!r} is outside the schema: only #/... is followed")
        for part in reference.lstrip("#").strip("/").split("/") if len(reference) > 1 else ():
            name = part.replace("~1", "/").replace("~0", "~")
            if not isinstance(found, dict) or name not in found:
                raise SchemaError(f"$ref {reference!r} does not exist")
            found = found[name]
        if not isinstance(found, dict):
            raise SchemaError(f"$ref {reference!r} is no schema")
        return found

    def _branch(self, schema: dict[str, Any], word: str, depth: int) -> Any:
        branches = [each for each in schema[word] if isinstance(each, dict)]
        if not branches:
            raise SchemaError(f"{word} is empty: no value satisfies it")
        rest = {name: each for name, each in schema.items() if name != word}
        if depth >= _DEEP:
            branches.sort(key=lambda each: len(str(each)) + (1000 if "$ref" in str(each) else 0))
            order = branches
        else:
            order = self._random.sample(branches, len(branches))
        failure: SchemaError | None = None
        for branch in order:
            try:
                return self.value(_merged(rest, self._flat(branch, depth)), depth + 1)
            except SchemaError as error:
                failure = error
        raise failure or SchemaError(f"no branch of {word} can be satisfied")

    def _type(self, schema: dict[str, Any], depth: int) -> str:
        named = schema.get("type")
        if isinstance(named, list):
            choices = [each for each in named if each in _TYPES]
            if not choices:
                raise SchemaError(f"Invalid type: {named}")
            simple = [each for each in choices if each not in ("object", "array")]
            return str(self._random.choice(simple if depth >= _DEEP and simple else choices))
        if named is None:
            return next((type for type, words in _SHAPED_BY.items() if any(w in schema for w in words)), "string")
        if named not in _TYPES:
            raise SchemaError(f"Invalid type: {named}")
        return str(named)

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        properties = schema.get("properties", {})
        required = schema.get("required", [])
        made: dict[str, Any] = {}
        for name, inner in properties.items():
            if name in required or (depth < _DEEP and self._random.random() < 0.7):
                made[name] = self.value(inner, depth + 1)
        others = schema.get("additionalProperties", True)
        for name in required:
            if name not in properties:
                if others is False:
                    raise SchemaError(f"{name} is required and not allowed")
                made[name] = self.value(others, depth + 1)
        for name, inner in properties.items():
            if len(made) >= schema.get("minProperties", 0):
                break
            made.setdefault(name, self.value(inner, depth + 1))
        number = 0
        while len(made) < self._affordable(schema, "minProperties") and others is not False:
            number += 1
            made[f"key{number}"] = self.value(others, depth + 1)
        return made

    def _array(self, schema: dict[str, Any], depth: int) -> list[Any]:
        first = schema.get("prefixItems", [])
        items = schema.get("items", True)
        least = self._affordable(schema, "minItems")
        wanted = least if depth >= _DEEP else max(least, len(first), self._random.randint(1, 3))
        most = int(schema.get("maxItems", max(wanted, least)))
        count = min(max(wanted, least), most)
        if items is False:
            count = min(count, len(first))
        made: list[Any] = []
        tries = 0
        while len(made) < count:
            inner = first[len(made)] if len(made) < len(first) else items
            value = self.value(inner, depth + 1)
            tries += 1
            if schema.get("uniqueItems") and value in made:
                if tries > 100 * count:
                    raise SchemaError("uniqueItems cannot be satisfied")
                continue
            made.append(value)
        return made

    def _string(self, schema: dict[str, Any]) -> str:
        least, most = self._affordable(schema, "minLength"), schema.get("maxLength")
        if "pattern" in schema:
            for _ in range(50):
                made = matching_text(str(schema["pattern"]), self._random, whole=False)
                if least <= len(made) and (most is None or len(made) <= most):
                    return made
            raise SchemaError(f"no text of {least} to {most} characters matches {schema['pattern']!r}")
        made = _FORMATS.get(schema.get("format", ""), "")
        if not made:
            made = " ".join(self._random.choices(WORDS, k=self._random.randint(1, 3)))
        while len(made) < least:
            made += " " + self._random.choice(WORDS)
        return made if most is None else made[: int(most)]

    def _number(self, schema: dict[str, Any], *, whole: bool) -> int | float:
        step = schema.get("multipleOf", 1 if whole else 0.5)
        low = schema.get("minimum", schema.get("exclusiveMinimum"))
        high = schema.get("maximum", schema.get("exclusiveMaximum"))
        if low is None:
            low = 0 if high is None else min(0, high - 100 * step)
        if high is None:
            high = low + 100 * step
        if not whole and "multipleOf" not in schema and high - low < 2 * step:
            step = (high - low) / 4 or 1
        first, last = -(-low // step), high // step
        if first * step == schema.get("exclusiveMinimum"):
            first += 1
        if last * step == schema.get("exclusiveMaximum"):
            last -= 1
        if first > last:
            raise SchemaError(f"no number from {low} to {high} is a multiple of {step}")
        value = self._random.randint(int(first), int(last)) * step
        return int(value) if whole else round(value, 9)


def _merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Both schemas at once, as far as a walk needs it."""
    result = dict(one)
    for name, value in other.items():
        if name == "properties" and name in result:
            result[name] = {**result[name], **value}
        elif name == "required" and name in result:
            result[name] = [*result[name], *(each for each in value if each not in result[name])]
        elif name in ("minimum", "minLength", "minItems") and name in result:
            result[name] = max(result[name], value)
        elif name in ("maximum", "maxLength", "maxItems") and name in result:
            result[name] = min(result[name], value)
        elif name == "enum" and name in result:
            result[name] = [each for each in result[name] if each in value]
        else:
            result[name] = value
    return result
