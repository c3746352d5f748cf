"""Evidence that was written goes on where it was: for the same rollout of the same versions, and for no other."""

from __future__ import annotations

import pytest

from fairlead.serving.analysis import Arm, Arms, Evidence, gather, memory
from fairlead.serving.analysis.evidence import MOST_BATCHES
from fairlead.serving.analysis.memory import MOST_BYTES, read_evidence, write_evidence
from serving.analysis.traffic import ASKED, Engines

ARMS = Arms(Arm("new"), Arm("old"))
SINCE = "2026-01-01T00:00:00Z"


def gathered(engines, seconds, evidence=None, begin=0):
    evidence = evidence or Evidence(ARMS)
    for second in range(begin, begin + seconds):
        evidence = gather(evidence, engines.second(), ASKED, float(second))
    return evidence


def test_a_reader_that_starts_again_misses_nothing_of_what_was_meanwhile():
    engines = Engines(new=2, stable=3)
    before = gathered(engines, 40)
    text = write_evidence(before, SINCE)
    assert read_evidence(text, ARMS, SINCE) == before
    # It is away for ten seconds, and the sums of the pickers go on.
    for _ in range(10):
        engines.second()
    after = gathered(engines, 1, read_evidence(text, ARMS, SINCE), begin=51)
    assert after.total.new.requests == sum(g.requests for g in engines.groups.values() if g.revision == "new")
    assert len(after.batches) >= len(before.batches) > 30, "their order is not lost"
    anew = gathered(engines, 0, gather(Evidence(ARMS), engines.reports(), ASKED, 52.0))
    assert len(anew.batches) == 1, "as it is without"


@pytest.mark.parametrize(
    ("text", "arms", "since"),
    [
        ("", ARMS, SINCE), ("garbage", ARMS, SINCE), (f"{SINCE} !!!", ARMS, SINCE), (f"{SINCE} aGFsbG8=", ARMS, SINCE),
        (None, Arms(Arm("newer"), Arm("old")), SINCE), (None, ARMS, "2026-01-01T00:00:01Z"),
    ],
)  # fmt: skip
def test_what_is_of_another_rollout_or_no_evidence_counts_for_nothing(text, arms, since):
    written = write_evidence(gathered(Engines(), 5), SINCE)
    assert read_evidence(written if text is None else text, arms, since) is None


def test_what_is_too_large_for_an_annotation_is_not_written(monkeypatch):
    small = write_evidence(gathered(Engines(new=8, stable=24), 3 * MOST_BATCHES), SINCE)
    assert 0 < len(small) < MOST_BYTES
    monkeypatch.setattr(memory, "MOST_BYTES", len(small) - 1)
    assert write_evidence(gathered(Engines(new=8, stable=24), 3 * MOST_BATCHES), SINCE) == ""
