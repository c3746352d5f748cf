"""Documents as JSON or YAML on standard output."""

from __future__ import annotations

import json
from typing import Any

import typer


def print_document(content: Any, output: str) -> None:
    """`output` is json or yaml."""
    if output == "json":
        typer.echo(json.dumps(content, indent=2))
        return
    import yaml

    typer.echo(yaml.dump(content, Dumper=yaml.CSafeDumper, sort_keys=False), nl=False)
