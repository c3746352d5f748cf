"""`fairlead model`: models as artifacts of registries, and in the caches of nodes."""

from __future__ import annotations

import typer

from fairlead.cli import model_cache


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Bring models to nodes, and look after their caches.")
    model_cache.register(group)
    app.add_typer(group, name="model")
