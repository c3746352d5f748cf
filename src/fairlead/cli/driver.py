"""`fairlead driver`: the node daemon that offers devices as DRA resources.

fairlead driver --vendor nvidia,network --node-name $NODE_NAME
fairlead driver --vendor simulated --fleet fleet.yaml --kubelet-root '/data/{node}' --cdi-root '/data/{node}/cdi'
"""

from __future__ import annotations

import argparse
import gc
import os
import socket
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fairlead.cli.arguments import port

if TYPE_CHECKING:
    from fairlead.devices.driver.node_driver import DriverOptions, DriverSpec
    from fairlead.devices.vendor import Vendor
    from fairlead.kube.client import Client

NODE_PLACE = "{node}"
Beside = Callable[[], Coroutine[Any, Any, None]]


def main(argv: list[str]) -> int:
    """Run the daemon until it is told to stop; the exit status."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    _check(parser, arguments)
    # Vendors start programs, and gRPC's fork handlers can crash the child before it execs. Read at gRPC's import.
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "false"
    import uvloop

    from fairlead.devices.errors import DeviceError
    from fairlead.kube.authorization import CredentialsError

    try:
        uvloop.run(_run(arguments))
    except KeyboardInterrupt:
        return 130
    except (DeviceError, CredentialsError, OSError) as error:
        print(f"fairlead driver: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="fairlead driver",
        description="Offer a node's accelerators as DRA devices: publish them, watch their health, serve the kubelet.",
    )
    parser.add_argument(
        "--vendor", required=True, metavar="NAME[,NAME]",
        help="nvidia, furiosa, tpu, network, simulated, or module:function of another vendor",
    )  # fmt: skip
    parser.add_argument(
        "--node-name", default=os.environ.get("NODE_NAME", ""),
        help="this machine's Node [default: $NODE_NAME, else the host name; for fleets: all their nodes]",
    )  # fmt: skip
    parser.add_argument("--kubeconfig", help="default: $KUBECONFIG, ~/.kube/config, or the pod's service account")
    parser.add_argument(
        "--kubelet-root", default="/var/lib/kubelet", metavar="DIR",
        help="the kubelet's folder; {node} in it is the node's name [default: %(default)s]",
    )  # fmt: skip
    parser.add_argument(
        "--cdi-root", default="/var/run/cdi", metavar="DIR",
        help="folder of dynamic CDI specs; {node} as above [default: %(default)s]",
    )  # fmt: skip
    parser.add_argument(
        "--host-root", default="/", metavar="DIR", help="where the machine's /sys, /proc and /dev are [default: /]"
    )
    parser.add_argument("--driver-name", default="", help="publish under this name in place of the vendor's own")
    parser.add_argument("--fleet", default="", help="simulated: a built-in fleet or a file")
    parser.add_argument(
        "--option", action="append", default=[], metavar="[VENDOR.]KEY=VALUE",
        help="an option of a vendor, as furiosa.partitions=false; repeatable",
    )  # fmt: skip
    parser.add_argument("--publish-only", action="store_true", help="serve no kubelet: only publish devices and health")
    parser.add_argument("--apply-classes", action="store_true", help="apply the vendors' DeviceClasses")
    parser.add_argument(
        "--withdraw-on-exit", action="store_true", help="take the slices out of the API at the end (not for updates)"
    )
    parser.add_argument(
        "--instance-id", default="", metavar="UID",
        help="for rolling updates: the pod's UID; two instances with different ones may run side by side",
    )  # fmt: skip
    parser.add_argument(
        "--no-taint-rules", action="store_true", help="write no DeviceTaintRules; the slices' taints say it too"
    )
    parser.add_argument("--metrics-port", type=port, help="serve Prometheus metrics on 127.0.0.1 at this port")
    times = parser.add_argument_group("times, in seconds")
    times.add_argument("--probe-period", type=_seconds, default=5.0, help="between looks for devices [%(default)s]")
    times.add_argument("--health-period", type=_seconds, default=0.5, help="between looks at health [%(default)s]")
    times.add_argument("--recovery", type=_seconds, default=10.0, help="well for so long is recovered [%(default)s]")
    times.add_argument("--prepare-limit", type=_seconds, default=30.0, help="for a vendor to prepare [%(default)s]")
    times.add_argument("--grace", type=_seconds, default=10.0, help="for calls in progress at the end [%(default)s]")
    return parser


def _check(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> None:
    names = _names(arguments)
    if not names:
        parser.error("--vendor needs a name")
    if "simulated" in names and not arguments.fleet:
        parser.error("--vendor simulated needs --fleet, which says what there is")
    if arguments.fleet and "simulated" not in names:
        parser.error("--fleet goes with --vendor simulated")
    for option in arguments.option:
        if "=" not in option:
            parser.error(f'--option "{option}": [VENDOR.]KEY=VALUE is needed')


def _names(arguments: argparse.Namespace) -> list[str]:
    return list(dict.fromkeys(name for name in arguments.vendor.split(",") if name))


async def _run(arguments: argparse.Namespace) -> None:
    import logging

    from fairlead.devices.driver.run import run
    from fairlead.kube.client import Client
    from fairlead.kube.run import run_until_signal

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if arguments.metrics_port is not None:
        from prometheus_client import start_http_server

        start_http_server(arguments.metrics_port, addr="127.0.0.1")
    async with Client.load(arguments.kubeconfig) as client:
        specs, beside = make_specs(arguments, client)

        def ready() -> None:
            # What has started stays: a collection during a claim need not walk through modules and inventories.
            gc.collect()
            gc.freeze()
            nodes = len({spec.node for spec in specs})
            print(f"ready: {len(specs)} drivers on {nodes} nodes", flush=True)

        await run_until_signal(run(client, specs, make_options(arguments), beside=beside, on_ready=ready))


def make_options(arguments: argparse.Namespace) -> DriverOptions:
    from fairlead.devices.driver.damping import DampingSettings
    from fairlead.devices.driver.node_driver import DriverOptions
    from fairlead.devices.driver.prepare import PrepareSettings
    from fairlead.devices.driver.watch import WatchSettings
    from fairlead.devices.host import Host

    damping = DampingSettings(
        recovery_s=arguments.recovery, max_recovery_s=max(arguments.recovery, DampingSettings().max_recovery_s)
    )
    return DriverOptions(
        publish_only=arguments.publish_only,
        withdraw_on_exit=arguments.withdraw_on_exit,
        apply_classes=arguments.apply_classes,
        instance_id=arguments.instance_id,
        boot_id=Host(arguments.host_root).text("/proc/sys/kernel/random/boot_id", ""),
        taint_rules=not arguments.no_taint_rules,
        grace_s=arguments.grace,
        watch=WatchSettings(
            probe_period_s=arguments.probe_period, health_period_s=arguments.health_period, damping=damping
        ),
        prepare=PrepareSettings(vendor_limit_s=arguments.prepare_limit),
    )


def make_specs(arguments: argparse.Namespace, client: Client) -> tuple[list[DriverSpec], list[Beside]]:
    """What to run, and what runs beside it. Raises DeviceError."""
    from fairlead.devices.driver.node_driver import DriverSpec
    from fairlead.devices.errors import ServeError

    made: list[tuple[str, Vendor]] = []
    beside: list[Beside] = []
    for name in _names(arguments):
        if name == "simulated":
            simulated, failures = _simulated(arguments, client)
            made += simulated
            beside.append(failures)
        else:
            made += _real(name, arguments)
    if arguments.driver_name and len({vendor.driver for _, vendor in made}) > 1:
        drivers = ", ".join(sorted({vendor.driver for _, vendor in made}))
        raise ServeError(f"--driver-name is for one driver; the vendors named have several: {drivers}")
    nodes = {node for node, _ in made}
    for flag, folder in (("--kubelet-root", arguments.kubelet_root), ("--cdi-root", arguments.cdi_root)):
        if len(nodes) > 1 and NODE_PLACE not in folder and not arguments.publish_only:
            raise ServeError(f"{flag} {folder}: {len(nodes)} nodes need a folder each; put {NODE_PLACE} into it")
    return [
        DriverSpec(
            vendor=vendor,
            node=node,
            kubelet_root=Path(arguments.kubelet_root.replace(NODE_PLACE, node)),
            cdi_root=Path(arguments.cdi_root.replace(NODE_PLACE, node)),
            driver_name=arguments.driver_name,
        )
        for node, vendor in made
    ], beside


def _real(name: str, arguments: argparse.Namespace) -> list[tuple[str, Vendor]]:
    from fairlead.devices.host import Host
    from fairlead.devices.vendors.registry import create

    node = arguments.node_name or socket.gethostname().lower()
    vendors = create(name, Host(arguments.host_root), node, **options_of(name, arguments.option))
    return [(node, vendor) for vendor in vendors]


def _simulated(arguments: argparse.Namespace, client: Client) -> tuple[list[tuple[str, Vendor]], Beside]:
    from fairlead.devices.vendors.simulated.controller import FailureWatch
    from fairlead.devices.vendors.simulated.vendor import create_fleet

    vendors = create_fleet(arguments.fleet, [arguments.node_name] if arguments.node_name else None)
    return [(vendor.node, vendor) for vendor in vendors], FailureWatch(client, vendors).run


def options_of(vendor: str, options: Sequence[str]) -> dict[str, Any]:
    """A vendor's part of the options, numbers and booleans as such."""
    found: dict[str, Any] = {}
    for option in options:
        key, _, value = option.partition("=")
        owner, dot, name = key.rpartition(".")
        if not dot or owner == vendor:
            found[name.replace("-", "_")] = _value(value)
    return found


def _value(text: str) -> Any:
    if text in ("true", "false"):
        return text == "true"
    return int(text) if text.isdigit() else text


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"seconds above zero are needed, got {text}")
    return value
