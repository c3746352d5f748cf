"""`fairlead model`: models as artifacts of registries, and in the caches of nodes."""

from __future__ import annotations

import typer

from fairlead.cli import model_artifacts, model_cache, model_signatures


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        no_args_is_help=True,
        help="Keep models in registries and OCI layouts, bring them to nodes, and look after the nodes' caches.",
    )
    model_artifacts.register(group)
    model_signatures.register(group)
    model_cache.register(group)
    app.add_typer(group, name="model")
