"""Where the dynamic loader looks: folders of libraries from /etc/ld.so.cache, read without running ldconfig.

Format: glibc's sysdeps/generic/dl-cache.h. The file may begin with the older table, after which the newer one follows.
"""

from __future__ import annotations

import struct

from fairlead.devices.host import Host

CACHE = "/etc/ld.so.cache"
_OLD_MAGIC, _NEW_MAGIC = b"ld.so-1.7.0\0", b"glibc-ld.so.cache1.1"
_OLD_ENTRY_BYTES, _ENTRY_BYTES, _HEADER_BYTES = 12, 24, 48
_LIMIT_BYTES = 16 << 20


def cached_libraries(host: Host, root: str = "/") -> list[tuple[str, str]]:
    """Name and path of each library that the cache below `root` lists; empty where there is none or it is damaged."""
    path = host.path(f"{root.rstrip('/')}{CACHE}")
    try:
        with open(path, "rb") as file:
            return parse_cache(file.read(_LIMIT_BYTES))
    except OSError:
        return []


def parse_cache(data: bytes) -> list[tuple[str, str]]:
    """A damaged cache tells what can be read of it: the loader's own fallback are its default folders."""
    start = 0
    if data.startswith(_OLD_MAGIC):
        (count,) = struct.unpack_from("<I", data, len(_OLD_MAGIC)) if len(data) >= 16 else (0,)
        start = -(-(16 + count * _OLD_ENTRY_BYTES) // 8) * 8
    if data[start : start + len(_NEW_MAGIC)] != _NEW_MAGIC or len(data) < start + _HEADER_BYTES:
        return []
    (count,) = struct.unpack_from("<I", data, start + len(_NEW_MAGIC))
    found = []
    for number in range(count):
        at = start + _HEADER_BYTES + number * _ENTRY_BYTES
        if at + _ENTRY_BYTES > len(data):
            break
        _, name, path = struct.unpack_from("<iII", data, at)
        found.append((_text(data, start + name), _text(data, start + path)))
    return [(name, path) for name, path in found if name and path.startswith("/")]


def _text(data: bytes, at: int) -> str:
    end = data.find(b"\0", at) if at < len(data) else -1
    return data[at:end].decode(errors="replace") if end >= 0 else ""
