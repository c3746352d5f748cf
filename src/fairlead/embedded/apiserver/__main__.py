"""`python -m fairlead.embedded.apiserver --data DIR --api-port N`: the API server by itself."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from fairlead.embedded.apiserver.server import main


def run(argv: Sequence[str] | None = None) -> int:
    """Serve until told to stop; returns the exit status."""
    arguments = _arguments(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    return main(arguments.data, arguments.api_port, arguments.host)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="fairlead apiserver", description="A Kubernetes API server on SQLite.")
    parser.add_argument("--data", type=Path, required=True, help="folder of the store, credentials and kubeconfig")
    parser.add_argument("--api-port", type=_port, default=0, help="HTTPS port (0 picks a free one)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    return parser.parse_args(argv)


def _port(text: str) -> int:
    if not text.isdigit() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"a port is a number from 0 to 65535, got {text}")
    return int(text)


if __name__ == "__main__":
    raise SystemExit(run())
