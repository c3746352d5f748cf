"""`fairlead adapter-loader`: the sidecar that fetches adapters for the engine of its pod."""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path

from fairlead.kube.run import run_until_signal


def main(argv: list[str]) -> int:
    """Run until SIGTERM."""
    parser = argparse.ArgumentParser(prog="fairlead adapter-loader", description=__doc__)
    parser.add_argument("--wanted", type=Path, required=True, help="file with what to fetch: JSON, slot to source")
    parser.add_argument("--cache", type=Path, required=True, help="folder of the node's cache")
    parser.add_argument("--host", default="0.0.0.0", help="address to answer on [default: %(default)s]")
    parser.add_argument("--port", type=int, default=8095, help="port to answer on [default: %(default)s]")
    parser.add_argument("--capacity", default="", metavar="SIZE", help="most that may be in the cache, as 500Gi")
    arguments = parser.parse_args(argv)
    uid = os.environ.get("POD_UID", "")
    if not uid:
        parser.error("the environment has no POD_UID: give the container metadata.uid under that name")
    import asyncio

    from fairlead.serving.adapters.loader import Loader, serve

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    loader = Loader(arguments.wanted, arguments.cache, uid, capacity=arguments.capacity)
    asyncio.run(run_until_signal(serve(loader, arguments.host, arguments.port)))
    return 0
