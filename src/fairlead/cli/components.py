"""Commands that run one component until it is told to stop: argument parsing only, the work is in the rooms.

Each function imports its room when called, so that a component pays for its own imports alone.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import os
import sys
from collections.abc import Coroutine
from functools import partial
from pathlib import Path
from typing import Any

from fairlead.cli.arguments import port


def apiserver(argv: list[str]) -> int:
    from fairlead.embedded.apiserver.__main__ import run

    return run(argv)


def controllers(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="fairlead controllers", description="Run every controller of the platform.")
    _kubeconfig(parser)
    parser.add_argument(
        "--only",
        choices=("platform", "serving", "scheduling", "bench", "cluster"),
        help="platform: serving, scheduling and bench only (a real cluster has the rest); serving, scheduling, bench: "
        "one of these alone; cluster: only what kube-controller-manager would do",
    )
    parser.add_argument(
        "--scheduler-names",
        default="default-scheduler,fairlead",
        help="comma-separated schedulerNames to place pods of; on a cluster with its own scheduler: fairlead",
    )
    parser.add_argument("--leader-elect", action="store_true", help="wait for a Lease; for several replicas")
    parser.add_argument(
        "--model-cache", metavar="DIR", default="/var/lib/fairlead/models",
        help="folder of every node that keeps fetched models; empty: each pod keeps its own [default: %(default)s]",
    )  # fmt: skip
    parser.add_argument("--model-cache-capacity", default="", metavar="SIZE", help="how much may be in it, as 500Gi")
    parser.add_argument(
        "--fetch-image", metavar="IMAGE", default="fairlead",
        help="image of the containers that fetch models, and of benchmarks' pods; empty: nothing is fetched "
        "[default: %(default)s]",
    )  # fmt: skip
    parser.add_argument("--image-volumes", action="store_true", help="mount OCI artifacts (Kubernetes 1.36 and later)")
    parser.add_argument(
        "--cluster-dns", default="", metavar="ADDRESS", help="serve cluster DNS there, port 53; the embedded platform's"
    )
    _metrics_port(parser)
    arguments = parser.parse_args(argv)
    from fairlead.cli.controllers import cluster_facts, run

    facts = partial(
        cluster_facts, arguments.model_cache, arguments.model_cache_capacity,
        fetch_image=arguments.fetch_image, image_volumes=arguments.image_volumes, embedded=arguments.only is None,
    )  # fmt: skip
    names = frozenset(n for n in arguments.scheduler_names.split(",") if n)
    if arguments.metrics_port is not None:
        from prometheus_client import start_http_server

        start_http_server(arguments.metrics_port, addr="127.0.0.1")
    return run_component(
        "controllers",
        run(
            arguments.kubeconfig,
            facts,
            only=arguments.only,
            scheduler_names=names,
            image=arguments.fetch_image,
            elect=arguments.leader_elect,
            cluster_dns=arguments.cluster_dns,
        ),
    )


def agent(argv: list[str]) -> int:
    from fairlead.embedded.agent.__main__ import main

    return main(argv) or 0


GATEWAY_SUBCOMMANDS = frozenset(("top", "explain", "config"))
"""Of `fairlead gateway`: they look into a picker in place of being one."""


def gateway(argv: list[str]) -> int:
    if argv and argv[0] in GATEWAY_SUBCOMMANDS:
        from fairlead.cli.app import run as run_command

        return run_command(["gateway", *argv])
    parser = argparse.ArgumentParser(
        prog="fairlead gateway",
        description="Run the endpoint picker.",
        epilog="`fairlead gateway top`, `explain` and `config check` look into one that runs.",
    )
    _kubeconfig(parser)
    parser.add_argument("--data", type=Path, required=True, help="folder for the picker's sockets, logs and memory")
    _metrics_port(parser)
    parser.add_argument("--namespace", help="serve the pools of this namespace only")
    parser.add_argument("--config", type=Path, help="EndpointPickerConfig of pools that name none")
    foreign = parser.add_argument_group("gateways other than Fairlead's own Envoy")
    foreign.add_argument(
        "--grpc-address", type=_place, default="", metavar="HOST:PORT", help="serve them there (usual port: 9002)"
    )
    foreign.add_argument(
        "--health-address", type=_place, default="", metavar="HOST:PORT", help="gRPC health (usual port: 9003)"
    )
    foreign.add_argument("--tls-cert", type=Path, help="certificate (PEM) of that address; self-signed when left out")
    foreign.add_argument("--tls-key", type=Path, help="its key (PEM)")
    foreign.add_argument("--no-tls", action="store_true", help="serve without TLS")
    foreign.add_argument(
        "--do-not-observe", action="store_true", help="end calls before the answer: less work, but ends are not known"
    )
    foreign.add_argument(
        "--fallbacks", type=int, default=0, metavar="N",
        help="endpoints to name after the first, for gateways that take lists",
    )  # fmt: skip
    foreign.add_argument("--scores", action="store_true", help="tell in the metadata how each candidate scored")
    foreign.add_argument(
        "--conformance", action="store_true",
        help="obey the headers of the conformance tests; never in production: clients choose their endpoint",
    )  # fmt: skip
    peers = parser.add_argument_group("other pickers behind the same gateway")
    peers.add_argument("--peers-folder", type=Path, metavar="DIR", help="where the pickers of this machine meet")
    peers.add_argument(
        "--peers-address", type=_place, default="", metavar="HOST:PORT", help="listen there for pickers elsewhere"
    )
    peers.add_argument(
        "--peer", type=_place, action="append", default=[], metavar="HOST:PORT", help="one of them; repeatable"
    )
    peers.add_argument("--peers-service", default="", metavar="NAMESPACE/NAME", help="headless Service of them all")
    arguments = parser.parse_args(argv)
    if bool(arguments.tls_cert) != bool(arguments.tls_key):
        parser.error("--tls-cert and --tls-key belong together")
    if arguments.no_tls and arguments.tls_cert:
        parser.error("--no-tls and --tls-cert exclude each other")
    if (arguments.peer or arguments.peers_service) and not arguments.peers_address:
        parser.error("--peer and --peers-service need --peers-address, where they find this picker")
    if arguments.peers_folder and arguments.peers_address:
        parser.error("--peers-folder and --peers-address exclude each other")
    _writable(parser, arguments.data)
    if arguments.config is not None:
        _followable(parser, arguments.config)
    from fairlead.gateway.run import Options, run

    tls = None
    if arguments.grpc_address and not arguments.no_tls:
        from fairlead.gateway.transport import ServerTls

        certificate, key = arguments.tls_cert, arguments.tls_key
        tls = ServerTls.from_files(certificate, key) if certificate else ServerTls.self_signed()
    options = Options(
        arguments.data,
        arguments.metrics_port,
        config=arguments.config,
        grpc_address=arguments.grpc_address,
        health_address=arguments.health_address,
        observes=not arguments.do_not_observe,
        tls=tls,
        fallbacks=arguments.fallbacks,
        scores=arguments.scores,
        conformance=arguments.conformance,
        peers_folder=arguments.peers_folder,
        peers_address=arguments.peers_address,
        peers=tuple(arguments.peer),
        peers_service=arguments.peers_service,
    )
    return run_component("gateway", run(arguments.kubeconfig, options, namespace=arguments.namespace))


def envoy(argv: list[str]) -> int:
    """Writes Envoy's configuration and becomes Envoy: the process that the supervisor watches is Envoy itself."""
    parser = argparse.ArgumentParser(prog="fairlead envoy", description="Run Envoy in front of the endpoint picker.")
    parser.add_argument("--data", type=Path, required=True, help="folder shared with `fairlead gateway`")
    parser.add_argument("--port", type=port, required=True, help="port for requests to models")
    parser.add_argument("--bind", default="127.0.0.1", help="address to listen on; 0.0.0.0 or :: for everybody")
    parser.add_argument("--tls-cert", type=Path, help="certificate (PEM): serve HTTPS")
    parser.add_argument("--tls-key", type=Path, help="its key (PEM)")
    parser.add_argument(
        "--picker", action="append", default=[], metavar="WHERE",
        help="folder of a picker, or host:port; repeatable: all are asked in turn [default: that of --data]",
    )  # fmt: skip
    parser.add_argument(
        "--without-picker", action="append", default=[], metavar="HOST:PORT",
        help="serve there while no picker answers, in place of refusing; repeatable",
    )  # fmt: skip
    arguments = parser.parse_args(argv)
    if bool(arguments.tls_cert) != bool(arguments.tls_key):
        parser.error("--tls-cert and --tls-key belong together")
    _writable(parser, arguments.data)
    from fairlead.gateway.envoy import EnvoyOptions, ListenerTls, PickerAddress, command, picker_socket, replica_name

    options = EnvoyOptions(
        bind=arguments.bind,
        tls=ListenerTls(arguments.tls_cert, arguments.tls_key) if arguments.tls_cert else None,
        pickers=tuple(
            PickerAddress(picker_socket(Path(where)), replica_name(Path(where)))
            if Path(where).is_dir()
            else PickerAddress(where)
            for where in arguments.picker
        ),
        without_picker=tuple(arguments.without_picker),
    )
    line = command(arguments.data, arguments.port, options=options)
    os.execv(line[0], line)


ENGINE_MODULES = {"onnx": "fairlead.runtimes.onnx.__main__", "simulated": "fairlead.simulator.__main__"}
"""Model server that ships with Fairlead -> the module whose `main` runs it."""


def engine(argv: list[str]) -> int:
    if argv and argv[0] in ENGINE_MODULES:
        return int(importlib.import_module(ENGINE_MODULES[argv[0]]).main(argv[1:]) or 0)
    parser = argparse.ArgumentParser(
        prog="fairlead engine",
        description="Run a model server that ships with Fairlead.",
        epilog="`fairlead engine NAME --help` lists the options of that engine.",
    )
    parser.add_argument("engine", choices=tuple(ENGINE_MODULES))
    parser.parse_args(argv)
    return 2


def supervise(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="fairlead supervise", description="Supervise the components of a data folder."
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--api-port", type=port, required=True)
    parser.add_argument("--gateway-port", type=port, required=True)
    parser.add_argument("--nodes", required=True)
    parser.add_argument("--devices", default="", help="a fleet or a vendor, as for `fairlead up`; it names the nodes")
    arguments = parser.parse_args(argv)
    from fairlead.embedded.supervisor.component import Devices, Ports
    from fairlead.embedded.supervisor.launch import CannotStart, run_foreground
    from fairlead.embedded.supervisor.state import AlreadyRunning

    ports = Ports(arguments.api_port, arguments.gateway_port)
    nodes: str = arguments.nodes
    devices: Devices | None = None
    try:
        if arguments.devices:
            from fairlead.cli.asked_devices import prepare

            nodes, devices = prepare(arguments.data, arguments.devices)
        state = asyncio.run(run_foreground(arguments.data, ports, nodes, lambda _: None, devices))
    except (AlreadyRunning, CannotStart) as error:
        print(error, file=sys.stderr)
        return 1
    return 1 if state.phase == "failed" else 0


def _kubeconfig(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kubeconfig", help="default: $KUBECONFIG, ~/.kube/config, or the pod's service account")


def _metrics_port(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--metrics-port", type=port, help="serve Prometheus metrics on 127.0.0.1 at this port")


def _place(text: str) -> str:
    """Empty, as the default is, or an address with its port."""
    host, _, port = text.rpartition(":")
    if text and (not host or not port.isdigit() or int(port) > 65_535 or (":" in host and host[0] != "[")):
        raise argparse.ArgumentTypeError(f"HOST:PORT is needed, as 127.0.0.1:9002 or [::1]:9002, got {text}")
    return text


def _writable(parser: argparse.ArgumentParser, folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(f"the folder {folder} cannot be made: {error.strerror}")


def _followable(parser: argparse.ArgumentParser, config: Path) -> None:
    from fairlead.gateway.config import ConfigError, read_config

    try:
        read_config(config.read_text())
    except (ConfigError, OSError, UnicodeDecodeError) as error:
        parser.error(f"--config {config}: {error}")


def run_component(name: str, work: Coroutine[Any, Any, None]) -> int:
    """Run until it ends. What a person can act on (missing credentials, a bad configuration, an address that is taken)
    is one line on stderr and exit status 1."""
    import uvloop

    from fairlead.kube.authorization import CredentialsError

    try:
        uvloop.run(work)
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        from fairlead.gateway.config import ConfigError

        cause = _cause(error)
        if not isinstance(cause, CredentialsError | ConfigError | OSError):
            raise
        print(f"fairlead {name}: {cause}", file=sys.stderr)
        return 1
    return 0


def _cause(error: Exception) -> Exception:
    """What a group of one has in it."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
