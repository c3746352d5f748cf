"""A trace as content: lengths, adapters and tenants as traced, and texts that share the prefixes its hash ids name.

Every request is sent by itself, at its own time: the prompt of a later turn is the trace's, not what this server has
answered, so lengths, times and shared prefixes are those that were traced, and memory does not grow with the trace.
"""

from __future__ import annotations

import random
from array import array
from collections.abc import Iterator

from fairlead.bench.config.content import TraceContent
from fairlead.bench.content.identity import identity
from fairlead.bench.content.shares import AdapterTurns
from fairlead.bench.content.tokens import Tokens
from fairlead.bench.paths import user_path
from fairlead.bench.session import Session, Turn
from fairlead.workload import TraceError, TraceFile, TraceRequest, shaped

_CHECKED_BYTES = 64 * 2**20
"""Traces up to this are read once beforehand, in a second: a broken line should not be found in the middle of a run."""
_REMEDIES = {
    "pass --skip-broken to leave it out": "set content.skip_broken: true to leave it out",
    "or pass --sort": "or set content.sort: true",
    "(--block-tokens sets another size)": "(content.block_tokens sets another size)",
}  # what `fairlead simulate` is told -> what a benchmark is told


def requests_of(content: TraceContent) -> Iterator[TraceRequest]:
    """Of the part of the trace that is wanted; times count from its begin. Raises ValueError, with file, line, field,
    value and remedy, for a trace that is none."""
    duration_s = content.last_s - content.first_s if content.last_s is not None else None
    if duration_s is not None and duration_s <= 0:
        raise ValueError(
            f"content.last_s is {content.last_s:g} and content.first_s {content.first_s:g}: the last must be the later"
        )
    try:
        trace = TraceFile(
            user_path(content.path), format_name=content.format, block_tokens=content.block_tokens,
            skip_broken=content.skip_broken, sort=content.sort,
        )  # fmt: skip
        yield from shaped(trace, start_s=content.first_s, duration_s=duration_s, limit=content.requests)
    except TraceError as error:
        said = str(error)
        for theirs, ours in _REMEDIES.items():
            said = said.replace(theirs, ours)
        raise ValueError(f"content.path: {said}") from None


def trace_times(content: TraceContent) -> array[float]:
    """When each request comes, in seconds from the begin of the part that is wanted: eight bytes a request. All of it
    is read, so that a broken line is told before anything is sent. Raises ValueError, also for a trace without
    requests."""
    times = array("d", (request.time_s for request in requests_of(content)))
    if not times:
        raise ValueError(f"content.path: {content.path} has no requests between content.first_s and content.last_s")
    return times


def trace_sessions(content: TraceContent, tokens: Tokens, seed: int) -> Iterator[Session]:
    """One of one turn for each request, in order of time. Ends with the trace. Longer prompts and answers than
    `max_*_tokens` are cut to them. Raises ValueError for a broken line: of a trace of usual size before the first
    session."""
    if _size_bytes(content) <= _CHECKED_BYTES:
        for _ in requests_of(content):
            pass
    rng = random.Random(f"{seed}/trace")
    adapters = AdapterTurns(content.adapter_weights, random.Random(f"{seed}/adapters"))
    for request in requests_of(content):
        prompt = min(request.prompt_tokens, content.max_prompt_tokens or request.prompt_tokens)
        output = min(request.output_tokens, content.max_output_tokens or request.output_tokens)
        text = tokens.opened(_text(request, max(1, prompt - tokens.added), tokens, rng))
        if not tokens.additive:
            prompt = tokens.count(text) + tokens.added
        yield Session(
            [Turn(text, prompt, output)],
            adapter=adapters.next() if content.adapter_weights else request.adapter,
            tenant=request.tenant,
            priority=request.priority,
            time_s=request.time_s,
            traced=request.session,
        )


def _size_bytes(content: TraceContent) -> int:
    try:
        return user_path(content.path).stat().st_size
    except OSError as error:
        raise ValueError(f"content.path: {content.path}: {error.strerror or error}") from None


def _text(request: TraceRequest, prompt: int, tokens: Tokens, rng: random.Random) -> str:
    """Blocks by their ids, the last one as far as the prompt goes; what no id names is nobody else's."""
    if not request.hash_ids:
        return tokens.text(prompt, rng)
    size = request.block_tokens
    parts: list[str] = []
    for number in request.hash_ids:
        if prompt <= 0:
            break
        # Blocks of another size, or another adapter's, are other contents under the same number.
        key = number * 2_147_483_659 + size
        parts.append(
            tokens.block(key if not request.adapter else identity(f"{key}/{request.adapter}"), min(size, prompt))
        )
        prompt -= size
    if prompt > 0:
        parts.append(tokens.text(prompt, rng))
    return "".join(parts)
