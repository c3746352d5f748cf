"""Command line of the ONNX runtime."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

import msgspec

from fairlead.runtimes.onnx.errors import InferenceError
from fairlead.runtimes.onnx.layout import LayoutError, source_path
from fairlead.runtimes.onnx.settings import ModelSettings, override


def main(argv: list[str] | None = None) -> int:
    """Serve until told to stop; returns the exit status."""
    parser = argparse.ArgumentParser(
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        prog="fairlead engine onnx",
        description="Serve ONNX models by the Open Inference Protocol v2 (REST and gRPC).",
    )
    parser.add_argument(
        "source", help="a .onnx file, a model's folder or a folder of models: an absolute path or file:///path"
    )
    parser.add_argument("--served-model-name", nargs="*", default=[], help="names that must be served")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=_port, default=8000, help="of REST and metrics; 0: any")
    parser.add_argument("--grpc-port", type=_port, default=8001, help="0: any")
    parser.add_argument("--no-grpc", action="store_true", help="serve REST only")
    parser.add_argument("--lazy", action="store_true", help="load a model when it is first asked for")
    parser.add_argument("--max-body-mib", type=_positive, default=64, help="of a request, default 64")
    parser.add_argument("--read-timeout-s", type=_seconds, default=60.0, help="for a whole request body to arrive")
    parser.add_argument("--drain-timeout-s", type=_seconds, default=25.0, help="for requests to finish on SIGTERM")
    defaults = parser.add_argument_group("defaults of models, which a model's serving.json may override")
    for name, value in msgspec.to_builtins(ModelSettings()).items():
        defaults.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value, help=f"default {value:g}")
    arguments = parser.parse_args(argv)
    settings = {name: getattr(arguments, name) for name in ModelSettings.__struct_fields__}
    try:
        models = override(ModelSettings(), msgspec.json.encode(settings), "command line")
        root = source_path(arguments.source)
    except (InferenceError, LayoutError) as error:
        parser.error(str(error))
    return _serve(arguments, root, models)


def _serve(arguments: argparse.Namespace, root: Path, models: ModelSettings) -> int:
    import uvloop

    from fairlead.runtimes.onnx.model import LoadError
    from fairlead.runtimes.onnx.server import ServerOptions, run

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    options = ServerOptions(
        root=root,
        names=arguments.served_model_name,
        host=arguments.host,
        port=arguments.port,
        grpc_port=None if arguments.no_grpc else arguments.grpc_port,
        lazy=arguments.lazy,
        max_body_bytes=arguments.max_body_mib * 1024 * 1024,
        read_timeout_s=arguments.read_timeout_s,
        drain_timeout_s=arguments.drain_timeout_s,
        defaults=models,
    )
    try:
        uvloop.run(run(options, _say_ready))
    except (LayoutError, LoadError) as error:
        print(f"fairlead engine onnx: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"fairlead engine onnx: cannot listen: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def _say_ready(port: int, grpc_port: int | None) -> None:
    print(f"ready on port {port}" + (f", gRPC on port {grpc_port}" if grpc_port is not None else ""), flush=True)


def _port(text: str) -> int:
    value = int(text)
    if not 0 <= value <= 65_535:
        raise argparse.ArgumentTypeError(f"a port is 0 to 65535, got {text}")
    return value


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {text}")
    return value


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 86_400:
        raise argparse.ArgumentTypeError(f"seconds from 0 to 86400, got {text}")
    return value


if __name__ == "__main__":
    sys.exit(main())
