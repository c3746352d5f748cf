"""How often an endpoint is asked for its metrics. Pure.

The more happens at an endpoint, the more often; at an endpoint without requests each interval is twice the one before.
All busy endpoints together are asked at most `MAX_BUSY_PER_S` times a second, so that the cost stays bounded whatever
the size of the fleet.
"""

from __future__ import annotations

import zlib

BUSY_INTERVAL_S = 0.2
QUIET_INTERVAL_S = 0.5
"""With few requests, as their counts by the gateway itself say nearly everything."""
IDLE_INTERVAL_S = 15.0
DOWN_INTERVAL_S = 0.5
MAX_DOWN_INTERVAL_S = 8.0
FEW_REQUESTS = 3
FULL_KV_RATIO = 0.7
MAX_BUSY_PER_S = 500.0

STALE_INTERVALS = 2.5
"""Reports that fail to come this many times over are missed."""


def busy_interval_s(requests: int, waiting: int, kv_usage_ratio: float | None, busy_endpoints: int) -> float:
    """For an endpoint with `requests` there or on their way; `waiting` is how many of them are in its queue."""
    is_loaded = requests > FEW_REQUESTS or waiting > 0 or (kv_usage_ratio or 0.0) > FULL_KV_RATIO
    return max(BUSY_INTERVAL_S if is_loaded else QUIET_INTERVAL_S, busy_endpoints / MAX_BUSY_PER_S)


def idle_interval_s(before_s: float) -> float:
    """For an endpoint without requests, by the interval before this one.

    Reports of idle endpoints tell of restarts, deaths and requests that did not come through the gateway; a request
    that does wakes them.
    """
    return min(IDLE_INTERVAL_S, max(QUIET_INTERVAL_S, 2 * before_s))


def down_interval_s(failures: int) -> float:
    """For an endpoint that failed this many times in a row."""
    return min(MAX_DOWN_INTERVAL_S, DOWN_INTERVAL_S * 2.0 ** min(10, max(0, failures - 2)))


def spread(interval_s: float, address: str, count: int) -> float:
    """The interval, up to a tenth shorter or longer: endpoints that came together do not stay in step."""
    return interval_s * (0.9 + 0.2 * (zlib.crc32(b"%d" % count, zlib.crc32(address.encode())) % 1024) / 1024)
