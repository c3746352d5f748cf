"""What the commands of `fairlead model` share: logins and TLS of registries, progress on stderr, errors in one line."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer

from fairlead.cli.failure import Failed
from fairlead.clock import SYSTEM

if TYPE_CHECKING:
    from fairlead.serving.store.artifacts import AnyRepository
    from fairlead.serving.store.connections import Settings
    from fairlead.serving.store.references import Reference
    from fairlead.serving.store.repository import Cancel

Result = TypeVar("Result")
_TELL_S = 5.0
_GROUP = "Registry"

ReferenceArgument = Annotated[
    str,
    typer.Argument(metavar="REFERENCE", help="oci://host/repository:tag, or layout:///folder:tag for an OCI layout."),
]
ParallelOption = Annotated[int, typer.Option("--parallel", "-p", min=1, max=64, help="Transfers at a time.")]
OutputOption = Annotated[Literal["text", "json"], typer.Option("--output", "-o", help="Form of the output.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors, and no progress.")]
UsernameOption = Annotated[
    str, typer.Option("--username", "-u", help="Login; the password from stdin.", rich_help_panel=_GROUP)
]
LoginsOption = Annotated[
    Path | None,
    typer.Option(
        "--logins",
        metavar="FILE",
        help="Logins as Docker keeps them, alone. [default: $DOCKER_CONFIG, ~/.docker/config.json, podman's]",
        rich_help_panel=_GROUP,
    ),
]
CaOption = Annotated[
    Path | None,
    typer.Option("--ca-file", metavar="FILE", help="Further authorities to trust, PEM.", rich_help_panel=_GROUP),
]
InsecureOption = Annotated[
    bool, typer.Option("--insecure", help="Do not check the registry's certificate.", rich_help_panel=_GROUP)
]
PlainOption = Annotated[
    bool | None,
    typer.Option(
        "--plain-http/--tls", help="HTTP, or TLS. [default: HTTP with loopback alone]", rich_help_panel=_GROUP
    ),
]


@dataclass(frozen=True, slots=True)
class Access:
    """The options of registries, as given."""

    username: str = ""
    logins: Path | None = None
    ca_file: Path | None = None
    insecure: bool = False
    plain_http: bool | None = None

    def settings(self) -> Settings:
        from fairlead.serving.store.connections import Settings
        from fairlead.serving.store.logins import Login, Logins, default_logins

        if self.username:
            password = sys.stdin.readline().rstrip("\n")
            if not password:
                raise Failed("no password on stdin for --username: `… --username me < password-file`")
            logins = Logins(fixed=Login(self.username, password))
        else:
            logins = default_logins(self.logins)
        return Settings(logins=logins, ca_file=self.ca_file, insecure=self.insecure, plain_http=self.plain_http)


def reference(text: str, *, tagged: bool = False) -> Reference:
    """Parse a reference, within `failing`. `tagged`: one without a tag is refused."""
    from fairlead.serving.store.references import parse_reference

    parsed = parse_reference(text)
    if tagged and not (parsed.tag or parsed.digest):
        raise Failed(f"{text}: which tag? write {parsed.place}:TAG")
    return parsed


@contextmanager
def failing() -> Iterator[None]:
    """The store's errors are a person's to act on."""
    from fairlead.serving.store.errors import StoreError

    try:
        yield
    except StoreError as error:
        raise Failed(str(error)) from error
    except OSError as error:
        raise Failed(f"{error.filename or ''}: {error.strerror or error}".removeprefix(": ")) from error


def with_repository(text: str, access: Access, work: Callable[[AnyRepository, Reference, Cancel], Result]) -> Result:
    """Run `work` with the repository of a reference; errors become one line."""
    with failing():
        from fairlead.serving.store.artifacts import open_repository
        from fairlead.serving.store.repository import Cancel

        parsed = reference(text)
        cancel = Cancel()
        with closing(open_repository(parsed, access.settings(), cancel)) as repository:
            return work(repository, parsed, cancel)


class Shown:
    """Progress on stderr: a bar on a terminal, else a line every few seconds; used from several threads."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: Any = None
        self._task: Any = None
        self._what, self._total, self._done = "", 0, 0
        self._began_s = self._told_s = SYSTEM.monotonic_s()
        self._lock = threading.Lock()

    def __enter__(self) -> Shown:
        if not self._quiet and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            from rich.console import Console
            from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
            from rich.progress import TransferSpeedColumn as Speed

            columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(binary_units=True), Speed())
            self._bar = Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True), transient=True)
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def begin(self, what: str, total_bytes: int) -> None:
        with self._lock:
            self._what, self._total, self._done = what, total_bytes, 0
            self._began_s = self._told_s = SYSTEM.monotonic_s()
            if self._bar is not None:
                if self._task is not None:
                    self._bar.remove_task(self._task)
                self._task = self._bar.add_task(what, total=total_bytes)

    def advance(self, size: int) -> None:
        with self._lock:
            self._done += size
            if self._bar is not None:
                self._bar.update(self._task, completed=self._done)
                return
            now_s = SYSTEM.monotonic_s()
            if self._quiet or now_s - self._told_s < _TELL_S:
                return
            self._told_s = now_s
            rate = self._done / max(now_s - self._began_s, 1e-3)
            done, total = amount(self._done), amount(self._total)
            print(f"{self._what}: {done} of {total}, {amount(int(rate))}/s", file=sys.stderr, flush=True)

    def note(self, text: str) -> None:
        if self._quiet:
            return
        with self._lock:
            (self._bar.console.print if self._bar is not None else _say)(f"warning: {text}")


def amount(size: int) -> str:
    """Bytes for people."""
    value = float(size)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(value) < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} TiB"


def _say(text: str) -> None:
    print(text, file=sys.stderr)
