"""The picker on its own, with endpoints from a file: `python -m fairlead.gateway --endpoints FILE --data DIR`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m fairlead.gateway", description="Run the endpoint picker.")
    parser.add_argument("--endpoints", type=Path, required=True, help="JSON file with the pools; followed")
    parser.add_argument("--data", type=Path, required=True, help="folder shared with `fairlead envoy`")
    parser.add_argument("--metrics-port", type=int, help="port on 127.0.0.1 for Prometheus metrics")
    parser.add_argument("--config", type=Path, help="EndpointPickerConfig of pools that name none")
    parser.add_argument("--transport", choices=("fast", "grpcio"), default="fast", help="which gRPC server to use")
    parser.add_argument("--peers-folder", type=Path, help="where the pickers of this machine meet")
    parser.add_argument("--grpc-address", default="", help="host:port for foreign gateways")
    parser.add_argument("--tls", action="store_true", help="serve it with TLS and a self-signed certificate")
    parser.add_argument("--health-address", default="", help="host:port of gRPC health beside it")
    parser.add_argument("--fallbacks", type=int, default=0, help="endpoints named after the first, to those")
    parser.add_argument("--scores", action="store_true", help="tell them how each candidate scored")
    parser.add_argument("--conformance", action="store_true", help="obey the headers of the conformance tests")
    parser.add_argument("--one-pool", action="store_true", help="all that comes is for the only pool of the file")
    arguments = parser.parse_args(argv)
    import uvloop

    from fairlead.gateway.run import Options, serve
    from fairlead.gateway.sources.file import FileSource
    from fairlead.gateway.transport import ServerTls

    options = Options(
        arguments.data,
        arguments.metrics_port,
        config=arguments.config,
        transport=arguments.transport,
        grpc_address=arguments.grpc_address,
        health_address=arguments.health_address,
        tls=ServerTls.self_signed() if arguments.tls else None,
        fallbacks=arguments.fallbacks,
        scores=arguments.scores,
        conformance=arguments.conformance,
        one_pool=arguments.one_pool,
        peers_folder=arguments.peers_folder,
    )
    uvloop.run(serve(FileSource(arguments.endpoints), options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
