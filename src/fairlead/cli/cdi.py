"""`fairlead cdi`: the devices that a node's CDI specs define, and what a container gets with them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from fairlead.cli.data import OutputOption
from fairlead.cli.failure import Failed

if TYPE_CHECKING:
    from fairlead.devices.cdi import ContainerEdits, Entry, Index, Problem

cdi_app = typer.Typer(
    help="Container Device Interface: the devices of this node's specs, and what containers get with them.",
    no_args_is_help=True,
)

SpecDirOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--spec-dir",
        metavar="DIR",
        help="Folder of specs, repeatable; a later one has the higher priority. [default: /etc/cdi, /var/run/cdi]",
    ),
]
DevicesArgument = Annotated[list[str], typer.Argument(metavar="DEVICE…", help="Qualified names: vendor/class=device.")]
FormOption = Annotated[Literal["yaml", "json"], typer.Option("--output", "-o", help="Form of the output.")]


def register(app: typer.Typer) -> None:
    app.add_typer(cdi_app, name="cdi")


@cdi_app.command("list")
def list_(
    what: Annotated[
        Literal["devices", "vendors", "classes", "specs"], typer.Argument(help="What to list.")
    ] = "devices",
    spec_dirs: SpecDirOption = None,
    output: OutputOption = "text",
) -> None:
    """What the specs define. Broken files are named on stderr; the others are listed all the same."""
    index = _index(spec_dirs)
    rows = _ROWS[what](index)
    if output == "json":
        typer.echo(json.dumps(rows, indent=2))
    elif not rows:
        typer.echo(f"no {what} in {', '.join(map(str, _dirs(spec_dirs)))}")
    else:
        _table(rows)
    for path, problems in index.problems.items():
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        print(f"fairlead: {path}: {problems[0]}{more}", file=sys.stderr)


@cdi_app.command()
def inspect(devices: DevicesArgument, spec_dirs: SpecDirOption = None, output: FormOption = "yaml") -> None:
    """Where devices are defined, and the edits that a container with all of them gets, as the specs say."""
    from fairlead.devices.cdi import merge_entries

    entries = _find(devices, spec_dirs)
    described = [_device_row(f"{entry.file.spec.kind}={entry.device.name}", entry) for entry in entries]
    _print({"devices": described, "containerEdits": merge_entries(entries)}, output)


@cdi_app.command()
def resolve(
    devices: DevicesArgument,
    oci: Annotated[
        Path | None,
        typer.Option("--oci", metavar="FILE", help="Apply to this OCI config.json (- for stdin) and print the result."),
    ] = None,
    spec_dirs: SpecDirOption = None,
    output: Annotated[
        Literal["yaml", "json"] | None,
        typer.Option("--output", "-o", help="Form of the output. [default: yaml, json with --oci]"),
    ] = None,
) -> None:
    """What a container with these devices gets on this host: repeated entries decided, device nodes looked up."""
    from fairlead.devices.cdi import apply_to_oci, complete_device_nodes, merge_entries

    with _failing():
        config = _read_config(oci) if oci is not None else None
        edits = merge_entries(_find(devices, spec_dirs))
        if config is None:
            _print(complete_device_nodes(_decided(edits)), output or "yaml")
        else:
            _print(apply_to_oci(config, complete_device_nodes(edits)), output or "json")


@cdi_app.command()
def validate(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE|DIR]…", help="Specs, or folders of them. [default: --spec-dir]"),
    ] = None,
    spec_dirs: SpecDirOption = None,
    output: OutputOption = "text",
) -> None:
    """Check specs: every problem with its file and its path in it. Exit status 1 if there is one."""
    checked, problems = _validated(paths) if paths else _validated_dirs(_dirs(spec_dirs))
    if output == "json":
        found = [{"file": str(file), "path": p.path, "message": p.message} for file, p in problems]
        typer.echo(json.dumps({"checked": checked, "problems": found}, indent=2))
    else:
        for file, problem in problems:
            typer.echo(f"{file}: {problem}")
        broken = len({file for file, _ in problems})
        typer.echo(f"{_count(checked, 'spec')} checked, {_count(len(problems), 'problem')} in {_count(broken, 'file')}")
    if problems:
        raise typer.Exit(1)


def _dirs(given: list[Path] | None) -> tuple[Path, ...]:
    from fairlead.devices.cdi import DEFAULT_DIRS

    return tuple(given) if given else DEFAULT_DIRS


def _index(spec_dirs: list[Path] | None) -> Index:
    from fairlead.devices.cdi import SpecCache

    return SpecCache(_dirs(spec_dirs)).refresh()


def _find(devices: Sequence[str], spec_dirs: list[Path] | None) -> list[Entry]:
    from fairlead.devices.cdi import SpecCache

    with _failing():
        return SpecCache(_dirs(spec_dirs)).find(devices)


@contextmanager
def _failing() -> Iterator[None]:
    """The CDI's errors are a person's to act on."""
    from fairlead.devices.cdi import CdiError

    try:
        yield
    except CdiError as error:
        raise Failed(str(error)) from error


def _decided(edits: ContainerEdits) -> ContainerEdits:
    """The edits without the entries that later ones replace."""
    import msgspec

    from fairlead.devices.cdi import NetDevice, additional_gids, device_nodes, environment, mounts, net_devices

    return msgspec.structs.replace(
        edits,
        env=tuple(f"{name}={value}" for name, value in environment(edits).items()),
        device_nodes=tuple(device_nodes(edits)),
        mounts=tuple(mounts(edits)),
        net_devices=tuple(NetDevice(host, name) for host, name in net_devices(edits).items()),
        additional_gids=tuple(additional_gids(edits)),
    )


def _validated(paths: Iterable[Path]) -> tuple[int, list[tuple[Path, Problem]]]:
    """How many specs were looked at, and every problem. A folder that is named stands for its specs."""
    from fairlead.devices.cdi import Problem, SpecError, read_spec

    checked = 0
    problems: list[tuple[Path, Problem]] = []
    for path in paths:
        if path.is_dir():
            in_folder, found = _validated_dirs((path,))
            checked += in_folder
            problems.extend(found)
            continue
        checked += 1
        try:
            read_spec(path)
        except SpecError as error:
            problems.extend((path, problem) for problem in error.problems)
        except FileNotFoundError:
            problems.append((path, Problem("", "there is no such file")))
    return checked, problems


def _validated_dirs(dirs: Sequence[Path]) -> tuple[int, list[tuple[Path, Problem]]]:
    index = _index(list(dirs))
    problems = [(path, problem) for path, said in index.problems.items() for problem in said]
    return len(index.files) + len(index.broken), problems


def _read_config(path: Path) -> dict[str, Any]:
    try:
        raw = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        config = json.loads(raw)
    except OSError as error:
        raise Failed(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise Failed(f"{path}: not a JSON document: {error}") from error
    if not isinstance(config, dict):
        raise Failed(f"{path}: expected an OCI configuration, an object, got {type(config).__name__}")
    return config


def _device_row(name: str, entry: Entry) -> dict[str, Any]:
    row: dict[str, Any] = {"device": name, "spec": str(entry.file.path), "priority": entry.file.priority}
    if entry.device.annotations:
        row["annotations"] = dict(entry.device.annotations)
    return row


def _device_rows(index: Index) -> list[dict[str, Any]]:
    return [_device_row(name, entry) for name, entry in sorted(index.devices.items())]


def _vendor_rows(index: Index) -> list[dict[str, Any]]:
    return [
        {"vendor": vendor, "specs": sum(file.spec.kind.startswith(f"{vendor}/") for file in index.files)}
        for vendor in index.vendors()
    ]


def _class_rows(index: Index) -> list[dict[str, Any]]:
    kinds = [kind.partition("/") for kind in index.kinds()]
    return [
        {"class": name, "vendors": [vendor for vendor, _, other in kinds if other == name]} for name in index.classes()
    ]


def _spec_rows(index: Index) -> list[dict[str, Any]]:
    return [
        {
            "spec": str(file.path),
            "kind": file.spec.kind,
            "version": file.spec.cdi_version,
            "devices": len(file.spec.devices),
            "priority": file.priority,
        }
        for file in index.files
    ]


_ROWS = {"devices": _device_rows, "vendors": _vendor_rows, "classes": _class_rows, "specs": _spec_rows}


def _table(rows: Sequence[dict[str, Any]]) -> None:
    columns = [column for column in rows[0] if column != "annotations"]
    cells = [[column.upper() for column in columns]]
    cells += [[_cell(row[column]) for column in columns] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in cells:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _cell(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _print(value: Any, output: str) -> None:
    import msgspec

    from fairlead.devices.cdi.write import to_yaml

    if output == "json":
        typer.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
    else:
        typer.echo(to_yaml(value), nl=False)
