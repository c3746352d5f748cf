"""Uploads that were begun, kept on disk, so that a push that was killed goes on where the registry has come to."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def default_folder() -> Path:
    """$XDG_CACHE_HOME/fairlead/uploads, or below ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "fairlead" / "uploads"


class Sessions:
    """Upload address by repository and blob. What cannot be read or written is as if it were not there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def recall(self, root: str, digest: str) -> str:
        """The address of an upload that was begun, or empty."""
        try:
            return self._path(root, digest).read_text()
        except (OSError, UnicodeDecodeError):
            return ""

    def remember(self, root: str, digest: str, url: str) -> None:
        path = self._path(root, digest)
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            partial = path.with_suffix(".partial")
            partial.write_text(url)
            partial.replace(path)
        except OSError:
            # Without the note a push still works; it only begins this blob anew after a kill.
            return

    def forget(self, root: str, digest: str) -> None:
        try:
            self._path(root, digest).unlink(missing_ok=True)
        except OSError:
            return

    def _path(self, root: str, digest: str) -> Path:
        return self._folder / hashlib.sha256(f"{root} {digest}".encode()).hexdigest()
