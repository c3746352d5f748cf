"""Reading a trace file line by line, in flat memory: format, broken lines, order of time.

What a reader may not guess it says: a line that is not a request, or one that is earlier than the line before it, is an
error with file and line number, unless the caller asked to skip the one or to sort the other.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fairlead.workload.formats import FORMATS, Format, Parse
from fairlead.workload.request import BrokenLine, TraceError, TraceRequest

_LINES_TO_TELL_BY = 20
_LINES_OF_A_DOCUMENT = 2000
_OTHERS = {b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zX": "xz", b"PK\x03\x04": "zip"}
_LONGEST_LINE = 16 * 2**20
"""Characters. A trace line is far shorter; what is longer is no trace."""


@dataclass(slots=True)
class ReadCounts:
    """What a reader has seen so far."""

    requests: int = 0
    unanswered: int = 0
    """Requests that the traced service never answered (no output tokens): left out."""
    broken: int = 0
    """Lines skipped because the caller asked for it."""
    first_broken: str = ""


class TraceFile:
    """One trace file. Iterate it for requests in order of time; `counts` tells what was left out.

    `format_name`, or None to tell it by the content. `block_tokens` is the size of the blocks that hash ids name, where
    it is not the format's own. `sort` reads the whole file into memory. What is compressed with
    gzip is decompressed. Raises TraceError, at once for a file that cannot be opened or told, else while it is read.
    """

    def __init__(
        self,
        path: Path,
        *,
        format_name: str | None = None,
        block_tokens: int | None = None,
        skip_broken: bool = False,
        sort: bool = False,
    ) -> None:
        self.path = path
        self.counts = ReadCounts()
        self._block_tokens = block_tokens
        self._skip_broken = skip_broken
        self._sort = sort
        self.format = _named(format_name) if format_name else _told_by_content(path)

    def __iter__(self) -> Iterator[TraceRequest]:
        self.counts = ReadCounts()
        pairs = self._parsed()
        if self._sort or not self.format.is_ordered:
            pairs = iter(sorted(pairs, key=lambda pair: pair[1].time_s))
        offset_s: float | None = None if self.format.absolute_times else 0.0
        before_s = 0.0
        for number, request in pairs:
            if offset_s is None:
                offset_s = request.time_s
            request.time_s -= offset_s
            if request.time_s < before_s:
                raise TraceError(
                    f"{self.path}:{number}: the request arrives {before_s - request.time_s:.6g} s before the one above "
                    "it; sort the trace, or pass --sort"
                )
            before_s = request.time_s
            self.counts.requests += 1
            yield request

    def _parsed(self) -> Iterator[tuple[int, TraceRequest]]:
        """(line number, request) of every line that is one."""
        lines = _numbered_lines(self.path)
        if self.format.split is not None:
            lines = self.format.split(lines)
        parse = self._parser(lines)
        for number, line in lines:
            try:
                request = parse(line)
            except BrokenLine as error:
                said = f"{self.path}:{number}: {error}"
                if not self._skip_broken:
                    raise TraceError(f"{said}; correct the line, or pass --skip-broken to leave it out") from None
                self.counts.broken += 1
                self.counts.first_broken = self.counts.first_broken or said
                continue
            if request is None:
                self.counts.unanswered += 1
            else:
                yield number, request

    def _parser(self, lines: Iterator[tuple[int, str]]) -> Parse:
        if not self.format.has_header:
            return self.format.parser("", self._block_tokens)
        number, header = next(lines, (1, ""))
        if not self.format.recognises(header):
            raise TraceError(
                f"{self.path}:{number}: this is not the header of a trace in format {self.format.name}: "
                f"{header.strip()[:120]!r}"
            )
        return self.format.parser(header, self._block_tokens)


def _numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Lines with their numbers, without blank ones. Raises TraceError for what cannot be read as text."""
    try:
        opener = gzip.open if _is_gzipped(path) else open
        with opener(path, "rt", encoding="utf-8-sig", errors="replace", newline="\n") as file:
            number = 0
            while line := file.readline(_LONGEST_LINE):
                number += 1
                if len(line) == _LONGEST_LINE:
                    raise TraceError(
                        f"{path}:{number}: a line longer than {_LONGEST_LINE} characters; is this a trace?"
                    )
                if not line.isspace():
                    yield number, line
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise TraceError(f"{path}: {reason}") from None


def _is_gzipped(path: Path) -> bool:
    """By what it begins with, whatever its name. Raises TraceError for another compression, OSError."""
    with path.open("rb") as file:
        first = file.read(4)
    for magic, tool in _OTHERS.items():
        if first.startswith(magic):
            raise TraceError(f"{path}: it is compressed with {tool}, and gzip is all that is read: unpack it first")
    return first.startswith(b"\x1f\x8b")


def _named(name: str) -> Format:
    try:
        return FORMATS[name]
    except KeyError:
        raise TraceError(f"unknown trace format {name!r}; known are {', '.join(FORMATS)}") from None


def _told_by_content(path: Path) -> Format:
    """The format of the file by its first lines: a header is the first, a JSON line may be any (one may be broken)."""
    first = ""
    for (_, line), _ in zip(_numbered_lines(path), range(_LINES_TO_TELL_BY), strict=False):
        is_first = not first
        first = first or line.strip()
        for candidate in FORMATS.values():
            if candidate.recognises(line) and (is_first or not candidate.has_header):
                return candidate
    if not first:
        raise TraceError(f"{path}: the trace is empty")
    if first[0] in "[{" and _mentions(path, '"gen_ai.'):
        return FORMATS["otel"]  # one document over many lines
    raise TraceError(
        f"{path}: the format of the trace cannot be told from its first line {first[:120]!r}; known are "
        "azure (TIMESTAMP,ContextTokens,GeneratedTokens), burstgpt (Timestamp,Model,Request tokens,Response tokens,…), "
        "mooncake and bailian (timestamp, input_length, output_length), otel (spans with gen_ai.usage.*), "
        "fairlead (time_s, prompt_tokens, output_tokens)"
    )


def _mentions(path: Path, said: str) -> bool:
    """Within the first lines of a document."""
    return any(said in line for (_, line), _ in zip(_numbered_lines(path), range(_LINES_OF_A_DOCUMENT), strict=False))


def write_trace(path: Path, requests: Iterable[TraceRequest]) -> int:
    """Write requests in Fairlead's own format; returns how many. Numbers survive the round trip exactly."""
    encoder, buffer, count = msgspec.json.Encoder(), bytearray(), 0
    with path.open("wb") as file:
        for request in requests:
            encoder.encode_into(request, buffer, len(buffer))
            buffer += b"\n"
            count += 1
            if len(buffer) > 2**18:
                file.write(buffer)
                buffer.clear()
        file.write(buffer)
    return count
