"""Where a large file is cut into layers, so that a changed file shares most layers with what it was before.

Safetensors files are cut at tensor edges (the format: an 8-byte header length, a JSON header with `data_offsets`, the
tensors): a tensor whose bytes did not change makes the same layers wherever it has moved to, and no byte need be read.
Other files are cut by content: where a hash over the last 32 bytes has its top bits zero, as in FastCDC (Xia et al.,
USENIX ATC 2016), with its gear hash and its jump over the shortest length; without its two masks, which matter for
lengths that vary less, not for sharing.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from fairlead.serving.store.errors import BadArtifact

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LEAST_BYTES = 256 << 10
MOST_BYTES = 256 << 20
_FEW_LAYERS, _MANY_LAYERS = 512, 1024
_LONG_ENOUGH_BYTES = 4 << 20
_WINDOW = 32
_SCAN_BYTES = 128 << 10
_HEADER_LIMIT_BYTES = 100 << 20
"""The safetensors library refuses longer headers as well."""


def part_bytes(total_bytes: int) -> int:
    """The usual length of a part for a model of this size: a power of two, so that versions of a model agree on it.

    A change costs about one part for each place where it is, besides its own bytes; a layer costs a registry some
    milliseconds. So there are at most 512 up to 2 GiB; beyond that parts stay at 4 MiB until there are 1,024, and
    then grow on, as registries take some 4,000 layers and manifests of 4 MiB.
    """
    wanted = max(min(total_bytes // _FEW_LAYERS, _LONG_ENOUGH_BYTES), total_bytes // _MANY_LAYERS)
    return 1 << (max(LEAST_BYTES, min(MOST_BYTES, wanted)) - 1).bit_length()


def cut(path: Path, usual_bytes: int) -> list[int]:
    """Ends of the parts of a file, the last being its size; a file no longer than a usual part is one part."""
    size = path.stat().st_size
    if size <= usual_bytes:
        return [size]
    edges = tensor_edges(path, size) if path.suffix == ".safetensors" else None
    return along_edges(edges, usual_bytes) if edges else list(by_content(path, size, usual_bytes))


def tensor_edges(path: Path, size: int) -> list[int] | None:
    """Ends of the header and of each tensor, ascending, the last being the file's size; None: no sound safetensors."""
    with open(path, "rb") as file:
        head = file.read(8)
        length = int.from_bytes(head, "little")
        if len(head) < 8 or length > min(_HEADER_LIMIT_BYTES, size - 8):
            return None
        try:
            header = json.loads(file.read(length))
            ends = {8 + length + int(t["data_offsets"][1]) for name, t in header.items() if name != "__metadata__"}
        except (ValueError, LookupError, TypeError, AttributeError):
            return None
    inside = {end for end in ends if 8 + length < end < size}
    return sorted({8 + length, size} | inside)


def along_edges(edges: list[int], usual_bytes: int) -> list[int]:
    """Ends of parts: small tensors side by side share one, large ones are alone and split from their own start on."""
    ends: list[int] = []
    start = at = 0
    for edge in edges:
        length = edge - at
        if length >= usual_bytes // 2 or edge - start > usual_bytes:
            # What is collected so far ends where this tensor begins.
            if at > start:
                ends.append(at)
            start = at
        while edge - start > usual_bytes + usual_bytes // 2:
            start += usual_bytes
            ends.append(start)
        if length >= usual_bytes // 2:
            ends.append(edge)
            start = edge
        at = edge
    if at > start:
        ends.append(at)
    return ends


def by_content(path: Path, size: int, usual_bytes: int) -> Iterator[int]:
    """Ends of parts between a half and four times the usual length, where the content says so."""
    least, most = usual_bytes // 2, usual_bytes * 4
    # After the shortest length, one place in `usual - least` is a cut on average.
    threshold = (1 << 32) // max(1, usual_bytes - least)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        start = 0
        while size - start > least:
            end = _first_cut(descriptor, start + least, min(start + most, size), threshold)
            yield end
            start = end
        if start < size:
            yield size
    finally:
        os.close(descriptor)


def _first_cut(descriptor: int, low: int, high: int, threshold: int) -> int:
    """The first place after `low` whose hash is below the threshold, else `high`."""
    at = low
    while at < high:
        raw = os.pread(descriptor, min(_SCAN_BYTES, high - at) + _WINDOW - 1, at - (_WINDOW - 1))
        if len(raw) < _WINDOW:
            break
        hashes = gear(raw)[_WINDOW - 1 :]
        hits = (hashes < threshold).nonzero()[0]
        if len(hits):
            return min(at + int(hits[0]) + 1, high)
        at += len(hashes)
    return high


def gear(raw: bytes) -> NDArray[np.uint32]:
    """For each byte the gear hash of the 32 bytes that end there (of fewer at the beginning).

    h(i) = Σ_j table[byte(i-j)] · 2^j mod 2^32, j < 32; five doublings of the window: h₂ₙ(i) = hₙ(i) + 2ⁿ·hₙ(i-n).
    """
    import numpy as np

    hashes = _table()[np.frombuffer(raw, dtype=np.uint8)]
    width = 1
    while width < _WINDOW:
        hashes[width:] += hashes[:-width] << np.uint32(width)
        width *= 2
    return hashes


_gear_table: NDArray[np.uint32] | None = None


def _table() -> NDArray[np.uint32]:
    """256 numbers that must never change, or nothing is shared with what older versions of Fairlead pushed."""
    global _gear_table
    if _gear_table is None:
        import hashlib

        import numpy as np

        raw = b"".join(hashlib.sha256(b"fairlead gear %d" % i).digest()[:4] for i in range(256))
        _gear_table = np.frombuffer(raw, dtype="<u4").astype(np.uint32)
    return _gear_table


def check_ends(ends: list[int], size: int, where: str) -> None:
    """Raises BadArtifact unless the ends cover a file of this size without gaps."""
    if not ends or ends[-1] != size or any(a >= b for a, b in pairwise(ends)):
        raise BadArtifact(f"{where}: its parts end at {ends[-3:]}, not at {size}")
