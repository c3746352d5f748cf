"""Events expire an hour after they were last seen."""

from __future__ import annotations

from pathlib import Path

import aiohttp

from fairlead.clock import SYSTEM, format_time
from fairlead.embedded.apiserver.event_expiry import EventExpiry, last_seen_s
from fairlead.embedded.apiserver.server import serve

EVENTS = "/api/v1/namespaces/default/events"


def event(name: str, last_seen: float) -> dict[str, object]:
    about = {"kind": "Pod", "namespace": "default", "name": "p"}
    return {"metadata": {"name": name}, "involvedObject": about, "reason": "R", "lastTimestamp": format_time(last_seen)}


async def test_only_events_not_seen_for_an_hour_go(tmp_path: Path) -> None:
    async with serve(tmp_path) as serving:
        connector = aiohttp.TCPConnector(ssl=False)
        headers = {"Authorization": f"Bearer {serving.credentials.token}"}
        async with aiohttp.ClientSession(serving.url, connector=connector, headers=headers) as http:
            for name in ("old", "fresh"):
                assert (await http.post(EVENTS, json=event(name, SYSTEM.wall_s()))).status == 201

            async def names() -> list[str]:
                listed = await (await http.get(EVENTS)).json()
                return sorted(item["metadata"]["name"] for item in listed["items"])

            assert await EventExpiry(serving.api.objects).sweep() == 0
            assert await names() == ["fresh", "old"]
            # An hour from now, one of them has just been seen again.
            seen = {"lastTimestamp": format_time(SYSTEM.wall_s() + 7200)}
            patched = await http.patch(
                f"{EVENTS}/fresh", json=seen, headers={"Content-Type": "application/merge-patch+json"}
            )
            assert patched.status == 200
            assert await EventExpiry(serving.api.objects, ttl_s=-3600).sweep() == 1
            assert await names() == ["fresh"]


def test_the_last_of_all_times_counts() -> None:
    times = {
        "metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"},
        "eventTime": "2026-01-01T00:00:01.000000Z",
        "series": {"lastObservedTime": "2026-01-01T00:00:09.000000Z"},
    }
    assert last_seen_s(times) - last_seen_s({"metadata": times["metadata"]}) == 9.0
    assert last_seen_s({"metadata": {}}) == 0.0
