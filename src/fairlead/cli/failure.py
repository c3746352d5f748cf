"""The error that commands raise when a person can act on it."""

from __future__ import annotations


class Failed(Exception):
    """A command could not do what it was asked; the message says why and what to do."""
