"""`python -m fairlead.embedded.agent --kubeconfig FILE --data DIR --nodes SPEC`: the node agent by itself."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from pathlib import Path

import uvloop

from fairlead.embedded.agent.backoff import BackoffPolicy
from fairlead.embedded.agent.dra import absence
from fairlead.embedded.agent.dra.node_devices import CDI_DIRS
from fairlead.embedded.agent.node_spec import NodeSpecError
from fairlead.embedded.agent.run import AgentError, run, stop_pods


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="fairlead agent", description="Virtual nodes that run pods as processes.")
    parser.add_argument("--kubeconfig", help="credentials of the API server")
    parser.add_argument("--data", type=Path, required=True, help="folder of the nodes' state")
    parser.add_argument(
        "--nodes", default="1", help="number of nodes, or name=…,cpu=…,memory=…;name=…, or @FILE with that"
    )
    parser.add_argument("--kubelet-port", type=int, default=10250, help="port of each node's kubelet API")
    parser.add_argument("--restart-backoff-s", type=float, default=10.0, help="first delay of a failing container")
    parser.add_argument("--max-restart-backoff-s", type=float, default=300.0, help="longest delay")
    parser.add_argument("--volume-refresh-s", type=float, default=20.0, help="time between updates of volumes")
    parser.add_argument(
        "--cdi-dir",
        type=Path,
        action="append",
        help="folder of CDI specs that all nodes share, lowest priority first; may be repeated "
        "(default: /etc/cdi and /var/run/cdi). A node's own folder, node/<name>/cdi of the data, comes last",
    )
    parser.add_argument(
        "--driver-away-s",
        type=float,
        default=absence.LIMIT_S,
        help="after so long without its DRA driver a node's ResourceSlices of it are deleted (default: %(default)g)",
    )
    parser.add_argument("--cluster-dns", default="", metavar="ADDRESS", help="name server that pods are to ask")
    parser.add_argument("--client-ca-file", type=Path, help="CA of the API server's kubelet client certificate")
    parser.add_argument("--anonymous-auth", action="store_true", help="let any caller use the kubelet API (tests only)")
    parser.add_argument("--stop-pods", action="store_true", help="end all containers of the data folder and exit")
    given = parser.parse_args(arguments)
    # Programs are started by fork (uvloop). gRPC's fork handlers, which look after its threads there, crash the child
    # before it can exec; a child that only execs needs none. Read when gRPC is imported, with the first driver.
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "false"
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        if given.stop_pods:
            asyncio.run(stop_pods(given.data))
        elif not given.kubeconfig:
            parser.error("--kubeconfig is required")
        else:
            work = run(
                given.kubeconfig,
                given.data,
                _nodes(given.nodes),
                kubelet_port=given.kubelet_port,
                client_ca=given.client_ca_file,
                anonymous=given.anonymous_auth,
                refresh_s=given.volume_refresh_s,
                cdi_dirs=given.cdi_dir or CDI_DIRS,
                cluster_dns=given.cluster_dns,
                driver_away_s=given.driver_away_s,
                policy=BackoffPolicy(given.restart_backoff_s, given.max_restart_backoff_s),
            )
            uvloop.run(work)
    except (AgentError, NodeSpecError) as error:
        print(f"fairlead agent: {error}", file=sys.stderr)
        return 1
    return 0


def _nodes(given: str) -> str:
    """The description itself: that of a thousand nodes is longer than an argument may be. Raises NodeSpecError."""
    if not given.startswith("@"):
        return given
    try:
        return Path(given[1:]).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise NodeSpecError(f"nodes: {given[1:]} cannot be read: {error}") from error


if __name__ == "__main__":
    raise SystemExit(main())
