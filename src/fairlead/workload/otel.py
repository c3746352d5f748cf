"""Spans of OpenTelemetry as a trace: which are calls of a model, when they began, and how many tokens they had.

Source: OpenTelemetry's semantic conventions for generative AI (`gen_ai.operation.name`, `gen_ai.usage.input_tokens`,
`gen_ai.usage.output_tokens`, `gen_ai.conversation.id`, `gen_ai.request.model`; until 1.27 `prompt_tokens` and
`completion_tokens`), and OTLP's JSON encoding (`resourceSpans`, `scopeSpans`, attributes as lists of key and value,
64-bit numbers as strings), of which file exporters write one message a line. Spans in a plain list, or under `spans`,
with attributes as an object (as SDKs print them) are read, too.

Spans of agents and tools repeat what the calls below them count, and are left out.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

from fairlead.workload.request import BrokenLine, TraceRequest

_KEYS = ("resourceSpans", "resource_spans", "spans")
_CALLS = {"", "chat", "text_completion", "generate_content"}
_INPUT = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")
_OUTPUT = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")
_TIMES = ("startTimeUnixNano", "start_time_unix_nano", "start_time", "startTime")
_NANOSECONDS = frozenset(("startTimeUnixNano", "start_time_unix_nano"))
_UNITS_PER_S = ((1e17, 1e9), (1e14, 1e6), (1e11, 1e3))
"""A start from the first number on has so many units in a second: in the next greater unit it would be thousands of
years away. Exporters that are not OTLP's write nano-, micro- or milliseconds."""

Json = dict[str, Any]


def is_otel(line: str) -> bool:
    """Whether a line is a message of spans, or one span."""
    try:
        given = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return False
    if isinstance(given, list):
        given = given[0] if given else None
    if not isinstance(given, dict):
        return False
    return any(isinstance(given.get(key), list) for key in _KEYS) or ("attributes" in given and _has_time(given))


def _has_time(span: Json) -> bool:
    return any(name in span for name in _TIMES)


def spans_of(lines: Iterator[tuple[int, str]]) -> Iterator[tuple[int, str]]:
    """(line, span) of every span: of a message or span a line, or of one document over many lines."""
    first = next(lines, None)
    if first is None:
        return
    number, line = first
    try:
        yield from ((number, span) for span in _spans_in(msgspec.json.decode(line)))
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        rest = list(lines)
        document = line + "".join(text for _, text in rest)
        try:
            whole = msgspec.json.decode(document)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            yield number, line
            lines = iter(rest)
        else:
            yield from ((number, span) for span in _spans_in(whole))
            return
    for number, line in lines:
        try:
            spans = list(_spans_in(msgspec.json.decode(line)))
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            spans = [line]  # the parser says what is wrong with it
        yield from ((number, span) for span in spans)


def _spans_in(given: Any) -> Iterator[str]:
    """Each as JSON, wherever it lies."""
    if isinstance(given, list):
        for each in given:
            yield from _spans_in(each)
    elif isinstance(given, dict):
        inner = [given[key] for key in (*_KEYS, "scopeSpans", "scope_spans") if isinstance(given.get(key), list)]
        if inner:
            for each in inner:
                yield from _spans_in(each)
        else:
            yield json.dumps(given)
    else:
        yield json.dumps(given)


def otel_parser(header: str, block_tokens: int | None) -> Callable[[str], TraceRequest | None]:
    """Parses what `spans_of` yields; None for a span that is no call of a model, or was not answered."""

    def parse(line: str) -> TraceRequest | None:
        try:
            span = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
            raise BrokenLine("line", line.strip(), f"a JSON object ({error})") from None
        if not isinstance(span, dict):
            raise BrokenLine("line", line.strip(), "a span, or an object with resourceSpans or spans")
        return _request(span)

    return parse


def _request(span: Json) -> TraceRequest | None:
    attributes = _attributes(span)
    if str(attributes.get("gen_ai.operation.name", "")) not in _CALLS:
        return None
    output = _first(attributes, _OUTPUT)
    if output is None:
        return None
    output_tokens = _tokens(output, _OUTPUT[0], 0)
    if not output_tokens:
        return None
    prompt = _first(attributes, _INPUT)
    return TraceRequest(
        _start_s(span),
        _tokens(prompt, _INPUT[0], 1),
        output_tokens,
        model=str(attributes.get("gen_ai.request.model", "")),
        session=str(attributes.get("gen_ai.conversation.id", "")),
    )


def _attributes(span: Json) -> Json:
    """By name, of either encoding."""
    given = span.get("attributes", {})
    if isinstance(given, dict):
        return given
    if not isinstance(given, list):
        raise BrokenLine("attributes", given, "an object, or a list of key and value")
    found: Json = {}
    for pair in given:
        if not isinstance(pair, dict) or not isinstance(pair.get("key"), str):
            raise BrokenLine("attributes", pair, "an object with key and value")
        value = pair.get("value")
        if isinstance(value, dict):  # {"intValue": "5"}
            value = next(iter(value.values()), None)
        found[pair["key"]] = value
    return found


def _first(attributes: Json, names: tuple[str, ...]) -> Any:
    return next((attributes[name] for name in names if attributes.get(name) is not None), None)


def _tokens(value: Any, field: str, least: int) -> int:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number) or number != int(number) or number < least:
        raise BrokenLine(field, value, f"a whole number of tokens, {least} or more")
    return int(number)


def _start_s(span: Json) -> float:
    """A number in its unit, or a date."""
    name = next((name for name in _TIMES if span.get(name) is not None), _TIMES[0])
    value: Any = span.get(name)
    if isinstance(value, str) and not value.isdecimal():
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            raise BrokenLine("startTimeUnixNano", value, "nanoseconds since 1970, or a date") from None
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if isinstance(value, bool) or not math.isfinite(number) or number < 0:
        raise BrokenLine("startTimeUnixNano", value, "nanoseconds since 1970, or a date")
    if name in _NANOSECONDS:
        return number / 1e9
    return number / next((per_s for least, per_s in _UNITS_PER_S if number >= least), 1.0)
