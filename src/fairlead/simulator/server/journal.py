"""A journal of what live engines were given, and the same again in virtual time.

The live server writes a line for every request and every abort (`--submit-log`). Replayed into fresh engines with the
same settings, costs and seed, the journal gives the moment of every token as the engines meant it; what a client saw
later than that is the server's own delay.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from fairlead.simulator.engine import Engine, Request
from fairlead.simulator.engine import Sequence as EngineSequence


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One request as it reached an engine, or its abort. `at_s` is on the machine's monotonic clock."""

    at_s: float
    rank: int
    id: str
    prompt_tokens: int = 0
    output_tokens: int = 0
    chain: str = ""
    """Hexadecimal."""
    adapter: str = ""
    remote_kv: bool = False
    hold_kv: bool = False
    abort: bool = False


class Journal:
    """Appends entries to a file. Raises OSError."""

    def __init__(self, path: Path) -> None:
        # Unbuffered: a process that is killed or crashes has told all it was given.
        self._file = path.open("wb", buffering=0)

    def submitted(self, at_s: float, rank: int, request: Request) -> None:
        self._write(
            Entry(
                at_s,
                rank,
                str(request.id),
                request.prompt_tokens,
                request.output_tokens,
                request.chain.hex(),
                request.adapter,
                request.remote_kv,
                request.hold_kv,
            )
        )

    def aborted(self, at_s: float, rank: int, request: Request) -> None:
        self._write(Entry(at_s, rank, str(request.id), abort=True))

    def close(self) -> None:
        self._file.close()

    def _write(self, entry: Entry) -> None:
        self._file.write(msgspec.json.encode(entry) + b"\n")


def read_journal(path: Path) -> list[Entry]:
    """The entries of a file."""
    decoder = msgspec.json.Decoder(Entry)
    return [decoder.decode(line) for line in path.read_bytes().splitlines() if line]


def replay(entries: Iterable[Entry], engines: Sequence[Engine]) -> dict[str, list[float]]:
    """When every token of every request came: request id -> seconds, on the journal's clock."""
    times: dict[str, list[float]] = {}
    live: list[dict[str, EngineSequence]] = [{} for _ in engines]
    for entry in entries:
        engine, mine = engines[entry.rank], live[entry.rank]
        _advance(engine, mine, times, entry.at_s)
        if entry.abort:
            sequence = mine.pop(entry.id, None)
            if sequence is not None:
                engine.abort(entry.at_s, sequence)
            continue
        request = Request(
            entry.id,
            entry.prompt_tokens,
            entry.output_tokens,
            bytes.fromhex(entry.chain),
            entry.adapter,
            entry.remote_kv,
            entry.hold_kv,
        )
        times[entry.id] = []
        mine[entry.id] = engine.submit(entry.at_s, request)
    for engine, mine in zip(engines, live, strict=True):
        _advance(engine, mine, times, float("inf"))
    return times


def _advance(engine: Engine, live: dict[str, EngineSequence], times: dict[str, list[float]], until_s: float) -> None:
    """Iteration by iteration, as a live server looks at it."""
    now_s = 0.0
    while live:
        due_s = min(engine.next_boundary_s(now_s), engine.next_s)
        if due_s > until_s or due_s == float("inf"):
            return
        now_s = due_s
        engine.advance(now_s)
        for name, sequence in tuple(live.items()):
            new = engine.tokens_of(sequence, now_s) - len(times[name])
            times[name].extend([now_s] * new)
            if sequence.finished_s >= 0:
                del live[name]
        engine.finished.clear()
