"""The trace formats of others and our own: which lines are theirs, and what one line means.

- Azure LLM inference traces 2023 and 2024, and the multimodal one of 2025 (Azure Public Dataset): CSV
  `TIMESTAMP,ContextTokens,GeneratedTokens`, the multimodal one with `NumImages`; context tokens include the images'.
- BurstGPT (HPMLL, releases 1 and 2): CSV `Timestamp` in seconds, `Model`, `Request tokens`, `Response tokens`, …;
  release 2 adds `Session ID` and `Elapsed time`. Rows with no response tokens are failures of the service traced.
- Mooncake (FAST '25): JSONL `timestamp` in milliseconds, `input_length`, `output_length`, `hash_ids` of blocks of 512
  tokens.
- Bailian (Alibaba's anonymised Qwen traces): JSONL with the fields of Mooncake's and `chat_id`; `timestamp` in seconds,
  `hash_ids` of blocks of 16 tokens.
- otel: spans of OpenTelemetry's semantic conventions for generative AI (see `otel`), as exporters write them to files.
- fairlead: JSONL of `TraceRequest`.

A parser takes one line and returns a request, None for a request that was never answered, or raises BrokenLine.
"""

from __future__ import annotations

import csv
import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from fairlead.workload.otel import is_otel, otel_parser, spans_of
from fairlead.workload.request import BrokenLine, TraceRequest

Parse = Callable[[str], TraceRequest | None]
MOONCAKE_BLOCK_TOKENS = 512
BAILIAN_BLOCK_TOKENS = 16


@dataclass(frozen=True, slots=True)
class Format:
    """`recognises` a first line; `parser` makes a parser, given the header (empty where there is none) and the size of
    the blocks that hash ids name, None for the format's own."""

    name: str
    recognises: Callable[[str], bool]
    parser: Callable[[str, int | None], Parse]
    has_header: bool
    absolute_times: bool
    """Times count from an epoch of their own; the first request is what a reader counts from."""
    split: Callable[[Iterator[tuple[int, str]]], Iterator[tuple[int, str]]] | None = None
    """Makes a line for each request of (number, line), where lines are something else in the file."""
    is_ordered: bool = True
    """The format's writers keep the order of time. What they do not is sorted, in memory."""


def _columns(line: str) -> list[str]:
    if '"' not in line:
        return line.rstrip("\r\n").split(",")
    try:
        return next(csv.reader([line]))
    except csv.Error as error:
        raise BrokenLine("line", line, f"a row of CSV ({error})") from None


def _names(header: str) -> list[str]:
    """Of columns, as they are compared: writers differ in their case, in spaces and in underscores."""
    return ["".join(name.split()).replace("_", "").lower() for name in _columns(header)]


def _places(header: str, wanted: Sequence[str]) -> list[int]:
    names = _names(header)
    return [names.index("".join(name.split()).lower()) for name in wanted]


def _place(header: str, wanted: str) -> int | None:
    """None: there is no such column."""
    try:
        return _places(header, (wanted,))[0]
    except ValueError:
        return None


def _cell(row: list[str], place: int, field: str) -> str:
    if place >= len(row):
        raise BrokenLine(field, None, f"a value; the line has {len(row)} columns")
    return row[place].strip()


def _tokens(text: str, field: str, least: int) -> int:
    try:
        # Some writers of CSV turn whole numbers into floats.
        value = int(text) if text.isdecimal() else float(text)
    except ValueError:
        raise BrokenLine(field, text, "a whole number of tokens") from None
    if not math.isfinite(value) or value != int(value) or value < least:
        raise BrokenLine(field, text, f"a whole number of tokens, {least} or more")
    return int(value)


def _seconds(text: str, field: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise BrokenLine(field, text, "a number of seconds") from None
    if not math.isfinite(value) or value < 0:
        raise BrokenLine(field, text, "a number of seconds, 0 or more")
    return value


_NUMBER = re.compile(r"\d{1,12}(\.\d+)?")


def _timestamp(text: str, field: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        if _NUMBER.fullmatch(text):
            return float(text)
        raise BrokenLine(field, text, "a time such as 2023-11-16 18:15:46.6805900, or seconds") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _azure_parser(header: str, block_tokens: int | None) -> Parse:
    time, prompt, output = _places(header, ("TIMESTAMP", "ContextTokens", "GeneratedTokens"))

    def parse(line: str) -> TraceRequest | None:
        row = _columns(line)
        time_s = _timestamp(_cell(row, time, "TIMESTAMP"), "TIMESTAMP")
        output_tokens = _tokens(_cell(row, output, "GeneratedTokens"), "GeneratedTokens", 0)
        if not output_tokens:
            return None
        prompt_tokens = _tokens(_cell(row, prompt, "ContextTokens"), "ContextTokens", 1)
        return TraceRequest(time_s, prompt_tokens, output_tokens)

    return parse


def _burstgpt_parser(header: str, block_tokens: int | None) -> Parse:
    time, prompt, output = _places(header, ("Timestamp", "Request tokens", "Response tokens"))
    model, session = _place(header, "Model"), _place(header, "Session ID")

    def parse(line: str) -> TraceRequest | None:
        row = _columns(line)
        time_s = _seconds(_cell(row, time, "Timestamp"), "Timestamp")
        output_tokens = _tokens(_cell(row, output, "Response tokens"), "Response tokens", 0)
        if not output_tokens:
            return None
        prompt_tokens = _tokens(_cell(row, prompt, "Request tokens"), "Request tokens", 1)
        conversation = "" if session is None else _cell(row, session, "Session ID")
        return TraceRequest(
            time_s,
            prompt_tokens,
            output_tokens,
            model="" if model is None else _cell(row, model, "Model"),
            session="" if conversation.lower() == "nan" else conversation,
        )

    return parse


class _MooncakeLine(msgspec.Struct):
    timestamp: float
    input_length: int
    output_length: int
    hash_ids: tuple[int, ...] | None = None


_FIELD = re.compile(r"at `\$\.(\w+)")
_MISSING = re.compile(r"missing required field `(\w+)`|unknown field `(\w+)`")


def _broken_json(line: str, error: msgspec.ValidationError) -> BrokenLine:
    """A validation error with the value that caused it."""
    said = str(error).split(" - at ")[0]
    if found := _MISSING.search(said):
        known = ", ".join(TraceRequest.__struct_fields__)
        field = found[1] or found[2]
        return BrokenLine(field, None, "a value") if found[1] else BrokenLine(field, "given", f"one of: {known}")
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        values = None
    if (found := _FIELD.search(str(error))) and isinstance(values, dict):
        return BrokenLine(found[1], values.get(found[1]), said.removeprefix("Expected "))
    return BrokenLine("line", line.strip(), f"a JSON object ({said})")


def _decode(decoder: msgspec.json.Decoder[TraceRequest] | msgspec.json.Decoder[_MooncakeLine], line: str) -> object:
    try:
        return decoder.decode(line)
    except msgspec.ValidationError as error:
        raise _broken_json(line, error) from None
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError) as error:
        raise BrokenLine("line", line.strip(), f"a JSON object ({error})") from None


def _check_ids(request: TraceRequest) -> None:
    """Ids name prompt and answer at most; more of them means blocks of another size."""
    blocks = -(-(request.prompt_tokens + request.output_tokens) // request.block_tokens)
    if len(request.hash_ids) > blocks:
        raise BrokenLine(
            "hash_ids",
            f"{len(request.hash_ids)} ids",
            f"at most {blocks}, one per block of {request.block_tokens} tokens (--block-tokens sets another size)",
        )


def _block_parser(unit_s: float, own_block_tokens: int) -> Callable[[str, int | None], Parse]:
    """Parsers of Mooncake's fields, with timestamps in units of `unit_s` seconds."""

    def parser(header: str, block_tokens: int | None) -> Parse:
        decoder = msgspec.json.Decoder(_MooncakeLine)
        size = block_tokens or own_block_tokens

        def parse(line: str) -> TraceRequest | None:
            given = _decode(decoder, line)
            assert isinstance(given, _MooncakeLine)
            if given.output_length == 0:
                return None
            for field in ("input_length", "output_length"):
                if (tokens := getattr(given, field)) < 1:
                    raise BrokenLine(field, tokens, "a whole number of tokens, 1 or more")
            if given.timestamp < 0:
                raise BrokenLine("timestamp", given.timestamp, "a time, 0 or more")
            request = TraceRequest(
                given.timestamp * unit_s,
                given.input_length,
                given.output_length,
                hash_ids=given.hash_ids or (),
                block_tokens=size,
            )
            _check_ids(request)
            return request

        return parse

    return parser


def _own_parser(header: str, block_tokens: int | None) -> Parse:
    decoder = msgspec.json.Decoder(TraceRequest)

    def parse(line: str) -> TraceRequest | None:
        request = _decode(decoder, line)
        assert isinstance(request, TraceRequest)
        if block_tokens is not None:
            request.block_tokens = block_tokens
        _check_ids(request)
        return request

    return parse


def _has_columns(*wanted: str) -> Callable[[str], bool]:
    def recognises(line: str) -> bool:
        try:
            return {"".join(name.split()).lower() for name in wanted} <= set(_names(line))
        except BrokenLine:
            return False

    return recognises


def _has_keys(*wanted: str) -> Callable[[str], bool]:
    def recognises(line: str) -> bool:
        try:
            given = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            return False
        return isinstance(given, dict) and any(key in given for key in wanted)

    return recognises


def _is_bailian(line: str) -> bool:
    return _has_keys("chat_id")(line) and _has_keys("input_length", "output_length")(line)


_MOONCAKE_PARSER = _block_parser(1e-3, MOONCAKE_BLOCK_TOKENS)
_BAILIAN_PARSER = _block_parser(1.0, BAILIAN_BLOCK_TOKENS)
_IS_AZURE = _has_columns("TIMESTAMP", "ContextTokens", "GeneratedTokens")
_IS_BURSTGPT = _has_columns("Timestamp", "Request tokens", "Response tokens")

FORMATS: dict[str, Format] = {
    f.name: f
    for f in (
        Format("azure", _IS_AZURE, _azure_parser, has_header=True, absolute_times=True),
        Format("burstgpt", _IS_BURSTGPT, _burstgpt_parser, has_header=True, absolute_times=True),
        Format("otel", is_otel, otel_parser, has_header=False, absolute_times=True, split=spans_of, is_ordered=False),
        # Bailian's lines have all fields of Mooncake's, so it is asked first.
        Format("bailian", _is_bailian, _BAILIAN_PARSER, has_header=False, absolute_times=True),
        Format(
            "mooncake",
            _has_keys("input_length", "output_length"),
            _MOONCAKE_PARSER,
            has_header=False,
            absolute_times=True,
        ),
        Format(
            "fairlead", _has_keys("prompt_tokens", "output_tokens"), _own_parser, has_header=False, absolute_times=False
        ),
    )
}
"""Name -> format, in the order in which a file is tried."""
