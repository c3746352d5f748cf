"""What was seen of requests to a real engine: when they were sent and when each token came.

Two files are read: our own, one JSON object per line with `sent_s`, `prompt_tokens`, `token_s` and `part`, and what
`vllm bench serve --save-result --save-detailed` writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import msgspec

MIN_REQUESTS = 20
"""A report with fewer says too little."""


class ReportError(ValueError):
    """A report that nothing can be learned from; the message names file, place and remedy."""


class Observation(msgspec.Struct, frozen=True, omit_defaults=True):
    """One request, in seconds on the client's clock. `token_s` has the arrival of every output token."""

    sent_s: float
    prompt_tokens: int
    token_s: tuple[float, ...]
    part: int = 0
    """Of a run in several parts: requests of different parts are never in flight together."""

    @property
    def output_tokens(self) -> int:
        return len(self.token_s)

    @property
    def ttft_s(self) -> float:
        return self.token_s[0] - self.sent_s

    @property
    def e2e_s(self) -> float:
        return self.token_s[-1] - self.sent_s

    @property
    def itl_s(self) -> list[float]:
        """Gaps between tokens; one fewer than tokens."""
        return [b - a for a, b in zip(self.token_s, self.token_s[1:], strict=False)]


@dataclass(frozen=True, slots=True)
class Report:
    """Requests in the order of sending, and how many could not be used: failed ones, and those whose tokens did not
    come one by one."""

    observations: tuple[Observation, ...]
    unusable: int = 0

    def split(self, share: float) -> tuple[Report, Report]:
        """About `share` of the run, and the rest.

        A run in parts is split by parts, taken in turn, so that a machine that grows slower does so on both sides;
        others are cut at one moment.
        """
        parts = sorted({o.part for o in self.observations})
        if len(parts) > 1:
            chosen = {part for i, part in enumerate(parts) if int((i + 1) * share) > int(i * share)}
            early = tuple(o for o in self.observations if o.part in chosen)
            late = tuple(o for o in self.observations if o.part not in chosen)
            return Report(early), Report(late)
        first_s, last_s = self.observations[0].sent_s, self.observations[-1].sent_s
        cut_s = first_s + share * (last_s - first_s)
        early = tuple(o for o in self.observations if o.sent_s <= cut_s)
        return Report(early), Report(self.observations[len(early) :])


def read_report(path: Path) -> Report:
    """Raises ReportError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ReportError(f"cannot read the report {path}: {error.strerror}") from error
    first_line = content.split(b"\n", 1)[0]
    try:
        first = msgspec.json.decode(first_line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        first = None
    if isinstance(first, dict) and "token_s" in first:
        return _made(_own_lines(content, path), 0, path)
    try:
        whole = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ReportError(f"{path} is neither JSON lines with token_s nor JSON: {error}") from error
    if not isinstance(whole, dict) or "itls" not in whole:
        raise ReportError(
            f"{path} has no times of single tokens: give JSON lines with sent_s, prompt_tokens and token_s, or the "
            "file of `vllm bench serve --save-result --save-detailed`"
        )
    return _from_vllm_bench(whole, path)


def write_report(observations: Iterable[Observation], path: Path) -> None:
    """Write observations in the form that `read_report` reads, one per line."""
    path.write_bytes(b"".join(msgspec.json.encode(one) + b"\n" for one in observations))


def _own_lines(content: bytes, path: Path) -> list[Observation]:
    decoder = msgspec.json.Decoder(Observation)
    found = []
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip():
            continue
        try:
            one = decoder.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise ReportError(f"{path}, line {number}: {error}") from error
        problem = _problem(one)
        if problem:
            raise ReportError(f"{path}, line {number}: {problem}")
        found.append(one)
    return found


def _problem(one: Observation) -> str:
    if one.prompt_tokens < 1:
        return f"prompt_tokens is {one.prompt_tokens}: it must be at least 1"
    if not one.token_s:
        return "token_s is empty: a request without an answer teaches nothing"
    if one.token_s[0] < one.sent_s or any(b < a for a, b in zip(one.token_s, one.token_s[1:], strict=False)):
        return "token_s must rise, from sent_s on"
    return ""


def _from_vllm_bench(content: dict[str, Any], path: Path) -> Report:
    names = ("start_times", "input_lens", "output_lens", "ttfts", "itls")
    missing = [name for name in names if not isinstance(content.get(name), list)]
    if missing:
        raise ReportError(f"{path} lacks {', '.join(missing)}: run vllm bench serve with --save-detailed")
    lists = [content[name] for name in names]
    if len({len(each) for each in lists}) != 1:
        raise ReportError(f"{path}: {', '.join(names)} have different lengths")
    found, unusable = [], 0
    for start_s, prompt, output, ttft_s, gaps in zip(*lists, strict=True):
        if not ttft_s or len(gaps) + 1 != output:
            # Failed, or several tokens in one event.
            unusable += 1
            continue
        times = tuple(accumulate([start_s + ttft_s, *gaps]))
        found.append(Observation(start_s, prompt, times))
    return _made(found, unusable, path)


def _made(found: Sequence[Observation], unusable: int, path: Path) -> Report:
    if len(found) < MIN_REQUESTS:
        raise ReportError(
            f"{path} has {len(found)} usable requests ({unusable} unusable): at least {MIN_REQUESTS} are needed"
        )
    return Report(tuple(sorted(found, key=lambda o: o.sent_s)), unusable)
