"""Where an `up` keeps its data, and what the other commands need of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from fairlead.embedded.supervisor.state import UpState, read_state

DEFAULT_NODES = "2"
DEFAULT_API_PORT = 7443
DEFAULT_GATEWAY_PORT = 7080


def default_data() -> Path:
    """$FAIRLEAD_DATA, or ~/.fairlead."""
    return Path(os.environ.get("FAIRLEAD_DATA") or Path.home() / ".fairlead")


DataOption = Annotated[
    Path | None,
    typer.Option(
        "--data", metavar="DIR", help="Folder of the embedded platform. [default: $FAIRLEAD_DATA or ~/.fairlead]"
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
KubeconfigOption = Annotated[
    Path | None,
    typer.Option("--kubeconfig", help="Another cluster. [default: the running platform's, else as kubectl]"),
]
OutputOption = Annotated[Literal["text", "json"], typer.Option("--output", "-o", help="Form of the output.")]


def folder(data: Path | None) -> Path:
    return Path(os.path.expanduser(data or default_data())).absolute()


def find_kubeconfig(data: Path | None, explicit: Path | None) -> Path | None:
    """The kubeconfig that was given, else that of the platform's folder; None: as kubectl finds one."""
    if explicit is not None:
        return explicit
    own = folder(data) / "kubeconfig"
    return own if own.exists() else None


def running(data: Path) -> UpState | None:
    """The state of a running `up` in this folder, or None."""
    state = read_state(data)
    return state if state is not None and state.alive() else None


class NotRunning(Exception):
    """Nothing runs in the data folder."""

    def __init__(self, data: Path) -> None:
        super().__init__(f"nothing runs in {data}; start it with `fairlead up`")


def must_run(data: Path) -> UpState:
    """The running state. Raises NotRunning."""
    state = running(data)
    if state is None:
        raise NotRunning(data)
    return state
