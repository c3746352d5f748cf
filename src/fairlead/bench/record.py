"""What is kept of every request. Times are seconds from the origin of the run, NaN where it did not come to that."""

from __future__ import annotations

from enum import IntEnum

import msgspec


class Outcome(IntEnum):
    """How a request ended. Anything but WHOLE is a failure, and of a class of its own in every report."""

    WHOLE = 0
    REFUSED_CONNECTION = 1
    CONNECT_TIMEOUT = 2
    TLS = 3
    HTTP_4XX = 4
    UNAUTHORIZED = 5
    RATE_LIMITED = 6  # 429
    HTTP_5XX = 7
    UNAVAILABLE = 8  # 503
    CUT = 9  # the stream ended before its end marker, or the body before its length
    MALFORMED = 10  # not HTTP, not SSE, not JSON where it must be
    IDLE_TIMEOUT = 11
    TIMEOUT = 12
    ERROR_EVENT = 13  # an error inside a stream that had begun with 200
    EMPTY = 14  # whole, and not one token in it
    ABORTED = 15  # by us: the run was ended
    LOST = 16  # with the worker that had it
    CLIENT_LIMIT = 17  # this machine has no file or port left for a connection: nothing the server did


class Record(msgspec.Struct, array_like=True, gc=False):
    """One request. `due_s`: when it should have been sent (in a closed loop: when its user was free); `sent_s`: when
    the first byte was handed to the kernel; `written_s`: when all of it had been.

    `chunk_times` and `chunk_tokens` belong together: when each event with text came and how many tokens it carried (0:
    not known, 1 where the server streams token by token). `server_*` are the server's own counts, -1 where it says
    nothing. `retry_after_s` is what a 429 or 503 asks for.

    From `due_s` to `sent_s` three waits follow each other: `held_s`, which the load asks for (`load.max_in_flight` or
    `max_connections` is reached, or a trace's turn needs an answer that has not come); `worker_lag_s`, the client's own
    fault, until the worker turned to the request; and the rest, until a connection was open. `late_s`: by how much the
    worker's event loop was late when it stamped the first token or the end, the greater of the two; as far as it
    knows, by a look every 20 ms. `backoff_s`: how long its user paused after it, as it had failed.

    `retried`: a kept connection was closed as it was sent, and it was sent once more; `sent_s` is of the second time.
    """

    number: int
    turn: int
    stage: int
    target: int
    adapter: int
    worker: int
    outcome: int
    status: int
    due_s: float
    sent_s: float
    written_s: float
    first_byte_s: float
    first_token_s: float
    last_token_s: float
    end_s: float
    prompt_tokens: int
    asked_output_tokens: int
    output_chunks: int
    server_prompt_tokens: int
    server_output_tokens: int
    server_cached_tokens: int
    new_connection: bool
    retry_after_s: float
    worker_lag_s: float
    finish_reason: str
    detail: str
    chunk_times: bytes  # float32, seconds after sent_s, native order
    chunk_tokens: bytes  # uint16; empty: one each
    retried: bool = False
    held_s: float = 0.0
    late_s: float = 0.0
    backoff_s: float = 0.0
