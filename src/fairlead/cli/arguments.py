"""Values of command-line arguments that several components take."""

from __future__ import annotations

import argparse


def port(text: str) -> int:
    """A TCP port, 0 for a free one. Raises argparse.ArgumentTypeError."""
    if not text.isdigit() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"a port is a number from 0 to 65535, got {text}")
    return int(text)
