"""Plain arguments are read as the command-line library reads them; all others are left to it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from fairlead.cli.quick_arguments import quickly


def command(
    context: typer.Context,
    source: Annotated[str | None, typer.Argument()] = None,
    model: Annotated[str | None, typer.Option("--model", "-m")] = None,
    low: Annotated[float | None, typer.Option()] = None,
    requests: Annotated[int | None, typer.Option("--requests", "-n")] = None,
    of: Annotated[Literal["rate", "users"] | None, typer.Option()] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run")] = False,
    label: Annotated[list[str] | None, typer.Option("--label", "-l")] = None,
    key_file: Annotated[Path | None, typer.Option()] = None,
    output: Annotated[Literal["text", "json"], typer.Option("--output", "-o")] = "text",
) -> None:
    context.obj.update({name: value for name, value in locals().items() if name != "context"})


app = typer.Typer(add_completion=False)
app.command()(command)


def library(arguments: list[str]) -> dict[str, Any] | None:
    found: dict[str, Any] = {}
    with contextlib.redirect_stderr(None), contextlib.redirect_stdout(None):
        try:
            app(args=arguments, obj=found, standalone_mode=False)
        except Exception:
            return None
    return found or None


PIECES = [
    "http://h:1", "--model", "-m", "m", "--low", "1.5", "--requests", "-n", "7", "--of", "rate", "--dry-run", "--label",
    "-l", "a=b", "--key-file", "k", "-o", "json", "--model=m=n", "--label=x", "-nx", "--help", "-1", "nan", "1e3", "--",
    "--dry-run=yes", "--mod", "", "-n7", "--label=", "--no-dry-run",
]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES), max_size=7))
def test_what_is_read_quickly_is_what_the_library_reads(arguments: list[str]) -> None:
    found = quickly(command, arguments)
    if found is not None:
        assert found == library(arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ["http://h:1", "--model", "m", "-n", "5", "--dry-run", "-l", "a=b", "--label=c=d", "--of=users", "--low", "2"],
        [],
    ],
)
def test_plain_ones_are_read_quickly(arguments: list[str]) -> None:
    found = quickly(command, arguments)
    assert found is not None and found == library(arguments)


@pytest.mark.parametrize("arguments", [["--help"], ["--low", "x"], ["--low"], ["a", "b"], ["-m", "a", "-m", "b"]])
def test_others_are_left_to_the_library(arguments: list[str]) -> None:
    assert quickly(command, arguments) is None


def test_a_benchmark_starts_without_what_it_does_not_need() -> None:
    script = """
import sys
from fairlead.cli.main import main
code = main(["bench", "http://h:1", "-m", "m", "--rate", "1", "--output-tokens", "8", "--dry-run"])
print(code, *sorted({"pydantic", "pyarrow", "plotly", "numpy", "tokenizers"} & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "0"
