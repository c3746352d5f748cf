"""`python -m fairlead.bench.records.conversion FOLDER [PART]`: a run's spool becomes Parquet, in a process of its own:
what that takes in memory is taken when the workers have ended, and given back with the process.

Prints how many records are written by now, a number a line; at the end of one that did not succeed, why, with exit
status 1. Whatever ends it, the spool is there until the Parquet file is whole.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

from fairlead.bench.records.parquet import write_parquet
from fairlead.bench.records.spool import SPOOL, named, read_spool

PARQUET = "records.parquet"
MODULE = "fairlead.bench.records.conversion"
ENVIRONMENT = {
    "ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "2", "MALLOC_TRIM_THRESHOLD_": "65536",
    "MALLOC_MMAP_THRESHOLD_": "65536", "OPENBLAS_NUM_THREADS": "1",
}  # fmt: skip
"""Of such a process: pools that keep what was freed are for speed that is not needed here."""


def converted(folder: Path, part: str = "", written: Callable[[int], None] = lambda _: None) -> str | None:
    """Make Parquet of the spool, here and now. Returns the problem, if there is one: then the spool stays, which can be
    read as well."""
    spool = folder / named(SPOOL, part)
    if not spool.exists():
        return None
    try:
        write_parquet(folder / named(PARQUET, part), read_spool(spool), written)
        spool.unlink()
    except OSError as error:
        where = error.filename or folder
        return f"{where}: {os.strerror(error.errno) if error.errno else error}: make room there"
    return None


def swept(folder: Path, part: str = "") -> None:
    """Take away what a process that was killed has left half done."""
    with contextlib.suppress(OSError):
        (folder / f".{named(PARQUET, part)}.part").unlink(missing_ok=True)


def main(folder: str, part: str = "") -> int:
    """Returns the exit status."""
    problem = converted(Path(folder), part, lambda written: print(written, flush=True))
    if problem is not None:
        print(problem, flush=True)
    return int(problem is not None)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
