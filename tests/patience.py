"""How long tests wait for a condition before they call it one that never comes."""

from __future__ import annotations

from typing import Final

PATIENCE_S: Final = 60.0
"""Far longer than any condition takes: a limit is there to end a test that fails, and a machine that others load must
not be mistaken for one. A test that passes never waits it out; one that means a time says its own."""
