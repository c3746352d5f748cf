"""What coordinator and workers say to each other: msgpack messages behind a length of four bytes (big-endian) on a Unix
socket, or between hosts over TCP, after a greeting (`cluster.greeting`).

The coordinator plans, prepares and keeps; a worker sends, times and forgets. Times are seconds from the origin, which
each is told as a reading of its own CLOCK_MONOTONIC (`run.clocks`).
"""

from __future__ import annotations

import msgspec

from fairlead.bench.record import Record
from fairlead.bench.session import Job


class _Message(msgspec.Struct, array_like=True, tag=True, gc=False):
    """Told apart by the name of its class."""


class Peer(msgspec.Struct, array_like=True):
    """A target as a worker connects to it. `reader` names how answers are read (`targets/`)."""

    host: str
    port: int
    tls: bool
    server_name: str
    ca_file: str
    client_certificate: str
    client_key: str
    insecure: bool
    reader: str
    reader_options: dict[str, str]
    stream: bool
    timeout_s: float
    connect_timeout_s: float
    idle_timeout_s: float
    max_connections: int


class Settings(_Message):
    """First. `worker` is its number; `keep_text`: answers are kept until the session ends, as its later turns need
    them."""

    worker: int
    peers: list[Peer]
    keep_text: bool
    pulse_s: float = 0.25
    records_s: float = 0.5


class Ready(_Message):
    """The worker has read its settings and resolved its peers; `problem` says why it cannot. `priority`: how it is
    scheduled (`worker.priority`)."""

    problem: str = ""
    priority: str = ""


class Start(_Message):
    """The origin, as a reading of the worker's own CLOCK_MONOTONIC."""

    monotonic_ns: int


class Ping(_Message):
    """What does the worker's clock say? `sent_ns` comes back with the answer."""

    sent_ns: int


class Pong(_Message):
    """The reading of the worker's CLOCK_MONOTONIC that a Ping asked for."""

    sent_ns: int
    reading_ns: int


class Jobs(_Message):
    """Sessions in order of `due_s`. A worker says in its pulses how far ahead of now what it has reaches."""

    jobs: list[Job]
    last: bool = False


class Users(_Message):
    """A closed stage: users of this worker, who take jobs of the stage from `begin_s` (evenly spread over `ramp_s`)
    until `end_s` or until there are no more jobs. `think_s` is a mean; `exponential`: how pauses are drawn, from
    `seed`. `backoff_s`: the first pause after a failure; `retry_after`: at least as long as the server asks for."""

    stage: int
    users: int
    begin_s: float
    end_s: float
    ramp_s: float
    think_s: float
    exponential: bool
    seed: int
    backoff_s: float = 0.0
    retry_after: bool = False


class Cap(_Message):
    """At most so many requests may be in flight in this worker from here on; others wait, in order."""

    in_flight: int


class EndStage(_Message):
    """Nothing of this stage is sent any more: jobs that have not begun are dropped, further turns too. With `abort`,
    those in flight are closed and recorded as ABORTED."""

    stage: int
    abort: bool = False


class Finish(_Message):
    """End within `drain_s`: what is in flight may end until then, and is ABORTED after it."""

    drain_s: float


class Pulse(_Message):
    """How a worker is, since its last pulse; `loop_lags_s` are samples of how late its event loop was. `received`: jobs
    that have come to it since it began, of which `queued` have not begun: what it was handed besides is on the way."""

    worker: int
    at_s: float
    cpu_s: float
    wall_s: float
    in_flight: int
    sent: int
    ended: int
    queued: int
    ahead_s: float
    loop_lags_s: list[float]
    received: int = 0


class Records(_Message):
    """Requests that have ended."""

    records: list[Record]


class Finished(_Message):
    """The last message of a worker."""

    worker: int
    cpu_s: float
    max_rss_bytes: int


Down = Settings | Start | Ping | Jobs | Users | Cap | EndStage | Finish
Up = Ready | Pong | Pulse | Records | Finished

LENGTH_BYTES = 4
LARGEST_BYTES = 256 * 2**20

_encoder = msgspec.msgpack.Encoder()
down_decoder = msgspec.msgpack.Decoder(Down)
up_decoder = msgspec.msgpack.Decoder(Up)


def frame(message: Down | Up) -> bytes:
    """A message with its length in front. Raises ValueError for one that is too long to be read again."""
    body = _encoder.encode(message)
    if len(body) > LARGEST_BYTES:
        raise ValueError(f"a message of {len(body):,} bytes is longer than {LARGEST_BYTES:,}: send fewer at a time")
    return len(body).to_bytes(LENGTH_BYTES, "big") + body
