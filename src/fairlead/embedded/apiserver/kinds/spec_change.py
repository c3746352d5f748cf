"""What an update tried to change, shown under a message that forbids it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def describe_change(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """The changed top-level fields, a removed and an added line for each, in the manner of a unified diff."""
    changed = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    lines = [f"@@ -{len(changed)} +{len(changed)} @@"]
    for key in changed:
        for mark, side in (("-", before), ("+", after)):
            if side.get(key) is not None:
                lines.append(f"{mark} {key}: {json.dumps(side[key], separators=(',', ':'), ensure_ascii=False)}")
    return "\n".join(lines) + "\n"
