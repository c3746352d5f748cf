"""`fairlead model`: models as artifacts of registries, and in the caches of nodes."""

from __future__ import annotations

import typer

from fairlead.cli import model_artifacts, model_cache, model_signatures

_EXAMPLES = """\b
Examples:
  fairlead model push ./llama oci://registry.example/team/llama:v1
  fairlead model pull oci://registry.example/team/llama:v1 ./llama --key cosign.pub
  fairlead model pull oci://registry.example/team/llama:v2 ./new --reuse ./llama
  fairlead model copy oci://registry.example/team/llama:v1 layout:///media/disk:v1
  fairlead model prune oci://registry.example/team/llama --keep 5 --match 'v*' --dry-run
"""


def register(app: typer.Typer) -> None:
    group = typer.Typer(
        no_args_is_help=True,
        epilog=_EXAMPLES,
        help="Keep models in registries and OCI layouts, bring them to nodes, and look after the nodes' caches.",
    )
    model_artifacts.register(group)
    model_signatures.register(group)
    model_cache.register(group)
    app.add_typer(group, name="model")
