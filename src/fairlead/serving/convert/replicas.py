"""How many replicas, and how many at a time a rollout may touch."""

from __future__ import annotations

import re
from typing import Any

from fairlead.serving.convert.reading import Reading
from fairlead.serving.convert.report import BadManifest, Loss, Severity

Json = dict[str, Any]


def bounded(replicas: int | None, least: int | None, most: int | None) -> tuple[int, Json]:
    """Replicas to start with, within their bounds, and the bounds. An upper bound below the lower one becomes that."""
    low = 1 if least is None else least
    high = 0 if not most else max(low, most)
    start = max(low, 1 if replicas is None else replicas)
    return min(start, high) if high else start, {"minReplicas": low, "maxReplicas": high}


def rolling(reading: Reading) -> Json:
    """maxSurge and maxUnavailable of a rollout. Raises BadManifest."""
    made: Json = {key: amount for key in ("maxSurge", "maxUnavailable") if (amount := reading.take(key)) is not None}
    for key, amount in made.items():
        if isinstance(amount, bool) or not re.fullmatch(r"[0-9]{1,5}%?", str(amount)):
            raise BadManifest(reading.path(key), amount, "expected a number of replicas or a share such as 25%")
    share = str(made.get("maxUnavailable", ""))
    if share.endswith("%") and int(share[:-1]) > 100:
        why = "more than all cannot be missing: it is 100% now"
        reading.losses.append(Loss(reading.path("maxUnavailable"), share, Severity.CHANGED, why))
        made["maxUnavailable"] = "100%"
    if _is_none(made.get("maxSurge", 1)) and _is_none(made.get("maxUnavailable", 0)):
        why = "with neither, no replica could ever be replaced: maxSurge is 1"
        reading.losses.append(Loss(reading.path("maxSurge"), made.get("maxSurge"), Severity.CHANGED, why))
        made["maxSurge"] = 1
    return made


def _is_none(amount: int | str) -> bool:
    return not str(amount).rstrip("%").strip("0")
