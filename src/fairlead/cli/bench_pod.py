"""`fairlead bench-pod`: a pod of a Benchmark's Job, which coordinates or sends, as its index says."""

from __future__ import annotations

import os
import sys

from fairlead.bench.cluster import names
from fairlead.bench.cluster.calling import NUMBER


def main(argv: list[str]) -> int:
    """Becomes a worker, or coordinates; what it is to do is in its environment."""
    if argv:
        print("usage: fairlead bench-pod\n\nA pod of a Benchmark: its Job says in the environment what it is to do.")
        return 0 if argv[0] in ("-h", "--help") else 2
    index = os.environ.get(names.INDEX_ENV, "")
    if not index.isdigit():
        print(f"fairlead bench-pod: {names.INDEX_ENV} is {index!r}: it runs in the Job of a Benchmark", file=sys.stderr)
        return 2
    if int(index) == names.COORDINATOR:
        from fairlead.bench.cluster.pod import main as coordinate

        return coordinate()
    os.environ[NUMBER] = str(int(index) - 1)
    arguments = [sys.executable, "-m", "fairlead.bench.worker", os.environ[names.SERVICE_ENV]]
    os.execv(sys.executable, arguments)
