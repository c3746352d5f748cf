"""The commands for people: up, down, status, deploy, chat, logs, doctor, demo and what belongs to them."""

from __future__ import annotations

import sys

import typer

from fairlead import __version__
from fairlead.cli.main import COMPONENTS

app = typer.Typer(
    name="fairlead",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="A Kubernetes-native inference platform that also runs whole on a laptop.",
    epilog="Components, each also an ordinary process on a cluster: " + ", ".join(sorted(COMPONENTS)) + ".",
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def _root(
    version: bool = typer.Option(False, "--version", help="Print the version and exit.", is_eager=True),
) -> None:
    if version:
        typer.echo(__version__)
        raise typer.Exit


def run(argv: list[str]) -> int:
    """Run a command; errors that a person can act on become one line on stderr and exit status 1."""
    from fairlead.cli import (
        adapter,
        bench,
        cdi,
        convert,
        demo,
        device,
        doctor,
        engines,
        gateway,
        get,
        model,
        rollout,
        schedule,
        service,
        simulate,
        topology,
        up,
    )  # fmt: skip

    if not app.registered_commands:
        for module in (
            up,
            service,
            get,
            rollout,
            adapter,
            model,
            engines,
            bench,
            device,
            topology,
            cdi,
            convert,
            schedule,
            simulate,
            gateway,
            doctor,
            demo,
        ):
            module.register(app)
    from fairlead.cli.data import NotRunning
    from fairlead.cli.failure import Failed
    from fairlead.embedded.supervisor.launch import CannotStart
    from fairlead.embedded.supervisor.state import AlreadyRunning
    from fairlead.kube.authorization import CredentialsError
    from fairlead.kube.errors import ApiError
    from fairlead.kube.transport import Unreachable
    from fairlead.serving.store.cache.cache import CacheError

    try:
        app(args=argv, prog_name="fairlead")
    except SystemExit as ended:
        return int(ended.code or 0)
    except CredentialsError as error:
        print(f"fairlead: {error}; `fairlead up` starts a platform that brings its own", file=sys.stderr)
        return 1
    except Unreachable as error:
        print(f"fairlead: {error}; `fairlead up` starts the platform, --kubeconfig names another", file=sys.stderr)
        return 1
    except (CannotStart, AlreadyRunning, NotRunning, ApiError, Failed, CacheError) as error:
        print(f"fairlead: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0
