import pytest

from fairlead.scheduling.eviction import case, consolidation, room
from scheduling.eviction.worlds import place_plainly


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (case, consolidation, room):
        monkeypatch.setattr(module, "place_gang", place_plainly)
