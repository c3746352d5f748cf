"""Whether what is wrong with replicas lies in what they share. Pure.

Where more than half of the replicas of a revision have the same cause, of those that an image, a model or arguments may
bring about, making them anew elsewhere gives as many ill ones again, with everything that starting costs. It is said
instead, and nodes go on restarting containers at their own pace, so that they come up once the cause is gone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from fairlead.serving.observed import Replica
from fairlead.serving.recovery.causes import Symptom

Ill = tuple[str, str, str]
"""Role, revision, cause."""


def common_causes(replicas: Sequence[Replica], symptoms: Sequence[Symptom]) -> Mapping[Ill, tuple[int, int]]:
    """Causes that more than half of the replicas of a role and revision have, at least two: how many, of how many."""
    by_name = {replica.name: replica for replica in replicas}
    all_of = Counter((str(r.role), r.revision) for r in replicas if not r.is_leaving)
    ill: Counter[Ill] = Counter()
    for symptom in symptoms:
        replica = by_name[symptom.replica]
        if symptom.cause.in_common and not replica.is_leaving:
            ill[(replica.role, replica.revision, symptom.cause.name)] += 1
    return {
        (role, revision, cause): (count, all_of[role, revision])
        for (role, revision, cause), count in ill.items()
        if count >= 2 and count * 2 > all_of[role, revision]
    }
