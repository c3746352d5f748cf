"""Paths as people write them."""

from __future__ import annotations

import os
from pathlib import Path


def user_path(text: str | Path) -> Path:
    """With a home for `~`. Where there is nobody of that name it stays as it is, and is then simply not there;
    `Path.expanduser` would raise RuntimeError, which is no answer to a path in a configuration."""
    return Path(os.path.expanduser(text))
