"""What content is made of: sessions of turns, before there is text of one API, and what a worker is handed."""

from __future__ import annotations

import msgspec


class Turn(msgspec.Struct, gc=False):
    """One request of a session. `text` is what is new in it, after the answers before; None: made of `blocks` and
    lengths.

    `prompt_tokens` counts the whole prompt, as far as it is known before there are answers (0: not known).
    `output_tokens` None: as the model likes. `pause_s` goes by between the end of the answer before and this turn
    (thinking, a tool's work).
    """

    text: str
    prompt_tokens: int
    output_tokens: int | None
    pause_s: float = 0.0
    role: str = "user"


class Session(msgspec.Struct, gc=False):
    """Turns that follow each other, each with all that was said before it. One request is a session of one turn.

    `time_s` is when the trace says that it comes. `shared` is text in front of the first turn that other sessions begin
    with, too. `traced`: the session of the trace whose turn it is, where each turn comes by itself.
    """

    turns: list[Turn]
    shared: str = ""
    adapter: str = ""
    tenant: str = ""
    priority: int = 0
    time_s: float = 0.0
    traced: str = ""


class PreparedTurn(msgspec.Struct, array_like=True, gc=False):
    """The body of a request in pieces: between two pieces goes a former answer of the session, as the content of a JSON
    string, first to last. One piece: nothing is to be filled in, and `head` has the length already."""

    pieces: list[bytes]
    prompt_tokens: int
    output_tokens: int
    pause_s: float


class Job(msgspec.Struct, array_like=True, gc=False):
    """A session as a worker is handed it: serialised ahead of time.

    `due_s` is seconds from the origin of the run, or -1 in a closed loop (a user of the worker takes it when it is
    free). `head` is the request line and headers up to the length of the body. `target` and `adapter` are numbers into
    the run's lists. Jobs of one `chain` are turns of one session of a trace: each waits for the answer to the one
    before (-1: of none).
    """

    number: int
    stage: int
    due_s: float
    target: int
    adapter: int
    head: bytes
    turns: list[PreparedTurn]
    chain: int = -1
