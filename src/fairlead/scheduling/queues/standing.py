"""How a queue stands towards its quota and its fair share once it holds more than now."""

from __future__ import annotations

import enum
from collections.abc import Collection

from fairlead.scheduling.snapshot import Amounts


class Standing(enum.IntEnum):
    """The better the smaller."""

    WITHIN_QUOTA = 0
    WITHIN_SHARE = 1
    """Also where no queue has a quota of anything that is wanted."""
    BORROWS = 2


def standing(
    held: Amounts, demand: Amounts, quotas: Amounts, share: Amounts, governed: Collection[str]
) -> tuple[Standing, str]:
    """How a queue that holds `held` stands with `demand` more, and the resource because of which.

    It stands as badly as in the worst resource that is wanted. `governed` are the resources of which some queue has a
    quota; of others a queue cannot exceed any.
    """
    worst, because, is_governed = Standing.WITHIN_QUOTA, "", False
    for resource, amount in demand.items():
        if not amount:
            continue
        after = held.get(resource, 0) + amount
        if resource in governed:
            is_governed = True
            if after <= quotas.get(resource, 0):
                continue
        if after > share.get(resource, 0):
            return Standing.BORROWS, resource
        if resource in governed:
            worst, because = Standing.WITHIN_SHARE, resource
    return (worst if is_governed else Standing.WITHIN_SHARE), because
