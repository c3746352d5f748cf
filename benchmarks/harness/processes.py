"""The processes of a session, as `/proc` shows them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def processes_of(session: int) -> Iterator[tuple[int, list[str]]]:
    """Each one's pid, and the fields of its `stat` from the third on (proc(5)). One that ends meanwhile is left out."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session:
            yield int(path.parent.name), fields
