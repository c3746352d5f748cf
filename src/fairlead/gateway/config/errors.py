"""What is wrong with a configuration."""

from __future__ import annotations


class ConfigError(ValueError):
    """The configuration cannot be followed. The message has a line for each problem: where, what, and what would do."""
