from __future__ import annotations

from fairlead.clock import VirtualClock
from fairlead.kube.event_correlation import Correlator, Occurrence, Subject


def occurrence(message: str, name: str = "a") -> Occurrence:
    return Occurrence(Subject("v1", "Pod", "default", name, f"uid-{name}"), "Normal", "Pulled", message)


def test_the_same_message_is_counted() -> None:
    correlator = Correlator(VirtualClock())
    first = correlator.correlate(occurrence("image pulled"))
    second = correlator.correlate(occurrence("image pulled"))
    assert first is second
    assert second is not None
    assert second.count == 2
    other = correlator.correlate(occurrence("image pulled", "b"))
    assert other is not None
    assert other.count == 1


async def test_many_similar_messages_are_told_together() -> None:
    clock = VirtualClock()
    correlator = Correlator(clock)
    for number in range(10):
        sighting = correlator.correlate(occurrence(f"attempt {number}"))
        assert sighting is not None
        assert sighting.message == f"attempt {number}"
    for number in range(10, 13):
        sighting = correlator.correlate(occurrence(f"attempt {number}"))
        assert sighting is not None
        assert sighting.message == f"(combined from similar events): attempt {number}"
        assert sighting.count == number - 9
    await clock.advance(601)
    sighting = correlator.correlate(occurrence("attempt 20"))
    assert sighting is not None
    assert sighting.message == "attempt 20"


async def test_a_flood_about_one_object_is_cut() -> None:
    clock = VirtualClock()
    correlator = Correlator(clock)
    written = [correlator.correlate(occurrence("again")) is not None for _ in range(30)]
    assert written == [True] * 25 + [False] * 5
    assert correlator.correlate(occurrence("again", "b")) is not None
    await clock.advance(301)
    assert correlator.correlate(occurrence("again")) is not None
