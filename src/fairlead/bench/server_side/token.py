"""The key that servers' pages are asked with."""

from __future__ import annotations

import os

from fairlead.bench.config.server import ServerMetrics
from fairlead.bench.paths import user_path


def token_of(server: ServerMetrics) -> str | None:
    """What pages are asked with. Raises ValueError for a file that cannot be read."""
    if server.key_env is not None:
        if server.key_env not in os.environ:
            raise ValueError(f"server.key_env is {server.key_env!r}: there is no such variable in the environment")
        return os.environ[server.key_env].strip()
    if server.key_file is not None:
        try:
            return user_path(server.key_file).read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"server.key_file is {server.key_file!r}, which cannot be read: {error}") from error
    return None
