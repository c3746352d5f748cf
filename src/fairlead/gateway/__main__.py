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
    parser.add_argument("--grpc-address", default="", help="host:port for foreign gateways, without TLS")
    arguments = parser.parse_args(argv)
    import uvloop

    from fairlead.gateway.run import Options, serve
    from fairlead.gateway.sources.file import FileSource

    options = Options(arguments.data, arguments.metrics_port, config=arguments.config, transport=arguments.transport)
    uvloop.run(serve(FileSource(arguments.endpoints), options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
