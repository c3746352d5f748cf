"""What may be chosen of Fairlead's own Envoy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class PickerAddress:
    """Where a picker listens: a unix socket's path or host:port."""

    where: Path | str
    replica: str = ""
    """Name its pick ids begin with (`LoadTable.replica`): its access log then has its own picks alone. Where one of
    several pickers has no name, all get the whole log and pass over what they do not know."""


@dataclass(frozen=True, slots=True)
class ListenerTls:
    """PEM files of the certificate that clients see. Read again when their folder changes as a mounted Secret does."""

    certificate: Path
    key: Path


@dataclass(frozen=True, slots=True)
class EnvoyOptions:
    """Options beyond the port. The defaults are those of `fairlead up`: one picker, plain HTTP, this machine only."""

    bind: str = LOOPBACK
    """Address to listen on; 0.0.0.0 or :: for everybody."""
    tls: ListenerTls | None = None
    pickers: tuple[PickerAddress, ...] = ()
    """Several are active at the same time, each request asks one; empty = the one of the data folder."""
    without_picker: tuple[str, ...] = ()
    """host:port of endpoints or of a Service that get requests while no picker answers (`failureMode: FailOpen`), by
    least requests and whatever model is asked for; empty = 503 (`FailClose`). Bodies larger than 16 MiB, and those of
    unknown size, get 503 all the same."""
    max_heap_bytes: int = 8 * 1024 * 1024 * 1024
    """Beyond 95 % of it Envoy refuses new requests, beyond 98 % new connections."""

    def __post_init__(self) -> None:
        if self.max_heap_bytes < 256 * 1024 * 1024:
            raise ValueError(f"max_heap_bytes is {self.max_heap_bytes}; give at least 268435456")
