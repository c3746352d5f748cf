"""`fairlead gateway top|explain|config`: what the picker sees, why it decided as it did, and whether a configuration is
one it takes. The picker itself is run by `fairlead gateway` without a subcommand (see `components`)."""

from __future__ import annotations

import http.client
import json
import socket
import time
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from fairlead.cli.data import DataOption, OutputOption, folder
from fairlead.cli.failure import Failed

_TIMEOUT_S = 5.0

console = Console(highlight=False)

gateway_app = typer.Typer(help="Look into the endpoint picker.", no_args_is_help=True)
GatewayData = Annotated[
    Path | None,
    typer.Option(
        "--gateway-data", metavar="DIR", help="Folder of a standalone picker (its --data). [default: that of `up`]"
    ),
]


def register(app: typer.Typer) -> None:
    app.add_typer(gateway_app, name="gateway")


@gateway_app.command()
def top(
    data: DataOption = None,
    gateway_data: GatewayData = None,
    once: Annotated[bool, typer.Option("--once", help="Print it once and end.")] = False,
    interval_s: Annotated[float, typer.Option("--interval", min=0.2, help="Seconds between two looks.")] = 1.0,
    output: OutputOption = "text",
) -> None:
    """Pools and endpoints as the picker sees them now; Ctrl-C ends it."""
    path = _socket(data, gateway_data)
    before = _get(path, "/state")
    if output == "json":
        typer.echo(json.dumps(before, indent=2))
        return
    if once or not console.is_terminal:
        console.print(_page(before, before))
        return
    with Live(_page(before, before), console=console, refresh_per_second=4) as live:
        while True:
            time.sleep(interval_s)
            now = _get(path, "/state")
            live.update(_page(before, now))
            before = now


@gateway_app.command()
def explain(
    name: Annotated[str, typer.Argument(help="Id of the request (x-request-id) or of the pick.")] = "last",
    data: DataOption = None,
    gateway_data: GatewayData = None,
    pool: Annotated[str, typer.Option(help="With --list: only decisions for this pool.")] = "",
    listing: Annotated[bool, typer.Option("--list", help="List the decisions that are kept.")] = False,
    file: Annotated[Path | None, typer.Option(help="Replay a decision saved with -o json.")] = None,
    output: OutputOption = "text",
) -> None:
    """Replay a decision: what each filter kept, each scorer gave, and why the endpoint was picked."""
    if listing:
        _list_decisions(_get(_socket(data, gateway_data), f"/decisions?limit=50&pool={quote(pool, safe='')}"), output)
        return
    raw = _saved(file) if file else _fetch(_socket(data, gateway_data), f"/decisions/{quote(name, safe='')}")
    if output == "json":
        try:
            typer.echo(json.dumps(json.loads(raw), indent=2))
        except ValueError as error:
            raise Failed(f"this is no recorded decision: {error}") from error
        return
    from fairlead.cli.explanation import print_explanation

    print_explanation(raw, console)


config_app = typer.Typer(help="Configurations of the picker.", no_args_is_help=True)
gateway_app.add_typer(config_app, name="config")


@config_app.command()
def check(file: Annotated[Path, typer.Argument(help="An EndpointPickerConfig, YAML or JSON.")]) -> None:
    """Read a configuration as the picker would, and print it with everything that it leaves out."""
    from fairlead.gateway.config import ConfigError, read_config

    try:
        config = read_config(file.read_text())
    except (ConfigError, OSError, UnicodeDecodeError) as error:
        raise Failed(f"{file}: {error}") from error
    for warning in config.warnings:
        typer.echo(f"warning: {warning}", err=True)
    typer.echo(config.dump(), nl=False)


@config_app.command()
def show(data: DataOption = None, gateway_data: GatewayData = None) -> None:
    """What holds for every pool of a running picker, as JSON."""
    typer.echo(json.dumps(_get(_socket(data, gateway_data), "/config"), indent=2))


def _saved(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise Failed(f"{file}: {error.strerror}") from error


def _list_decisions(rows: list[dict[str, Any]], output: str) -> None:
    if output == "json":
        typer.echo(json.dumps(rows, indent=2))
        return
    table = Table(box=None, pad_edge=False)
    for column in ("REQUEST", "POOL", "MODEL", "TOKENS", "CACHED", "ENDPOINT", "WHY"):
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(
            row["request_id"] or row["pick_id"],
            row["pool"],
            row["model"],
            str(row["prompt_tokens"]),
            str(row["matched_tokens"]),
            row["endpoint"],
            row["reason"],
        )
    console.print(table)


def _page(before: dict[str, Any], now: dict[str, Any]) -> Group:
    elapsed_s = now["at_s"] - before["at_s"]
    earlier = {pool["key"]: pool for pool in before["pools"]}
    parts: list[Any] = []
    for pool in now["pools"]:
        parts += [_pool_line(pool, earlier.get(pool["key"], pool), elapsed_s), _endpoints(pool), Text()]
    return Group(*parts or [Text("no pools")])


def _pool_line(pool: dict[str, Any], old: dict[str, Any], elapsed_s: float) -> Text:
    rate = (pool["routed_total"] - old["routed_total"]) / elapsed_s if elapsed_s > 0 else None
    ready = sum(e["state"] != "unreachable" for e in pool["endpoints"])
    words = [
        f"{ready}/{len(pool['endpoints'])} ready",
        f"{pool['routed_total']} requests" if rate is None else f"{rate:.1f} requests/s",
        f"{pool['running']} running",
        f"{pool['queued']} queued",
        f"{_number(pool['saturation'], '.0%')} full" if pool["endpoints"] else "no endpoint",
        f"TTFT {_seconds(pool['ttft_p50_s'])}, p90 {_seconds(pool['ttft_p90_s'])}",
        f"{_number(pool['match_ratio'], '.0%')} cached",
        f"{pool['errors_total']} errors",
    ]
    line = Text(pool["key"], style="bold")
    line.append(f" ({', '.join(pool['models'][:3])}): " + ", ".join(words), style="not bold")
    return line


def _endpoints(pool: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("ENDPOINT", "STATE", "OURS", "OTHERS", "WAIT", "KV", "BACKLOG", "TOKENS/S", "ITL"):
        left = column in ("ENDPOINT", "STATE")
        table.add_column(column, justify="left" if left else "right", no_wrap=True)
    for e in pool["endpoints"]:
        state = e["state"] if e["role"] == "both" else f"{e['state']} {e['role']}"
        table.add_row(
            e["address"],
            Text(state, style="" if e["state"] == "ok" else "yellow"),
            str(e["in_flight"]),
            _number(e["others"], "d"),
            _number(e["waiting"], "d"),
            _number(e["kv_cache_usage_ratio"], ".0%"),
            str(e["backlog_tokens"]),
            _number(e["prefill_tokens_per_s"], ",.0f"),
            _seconds(e["itl_s"]),
        )
    return table


def _number(value: float | None, form: str) -> str:
    return "?" if value is None else format(value, form)


def _seconds(value: float | None) -> str:
    if value is None:
        return "?"
    return f"{value * 1e3:.0f} ms" if value < 1 else f"{value:.1f} s"


def _socket(data: Path | None, gateway_data: Path | None) -> Path:
    from fairlead.gateway.run import picker_admin_socket

    where = folder(gateway_data) if gateway_data else folder(data) / "gateway"
    path = picker_admin_socket(where)
    if not path.exists():
        raise Failed(f"no endpoint picker runs with the folder {where}; start one with `fairlead up`")
    return path


def _get(path: Path, target: str) -> Any:
    return json.loads(_fetch(path, target))


def _fetch(path: Path, target: str) -> bytes:
    connection = _UnixConnection(path)
    try:
        connection.request("GET", target)
        response = connection.getresponse()
        body = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise Failed(f"the endpoint picker does not answer at {path}: {error}") from error
    finally:
        connection.close()
    if response.status != 200:
        raise Failed(body.decode(errors="replace"))
    return body


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("picker", timeout=_TIMEOUT_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
