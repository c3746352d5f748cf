"""Which description counts where a pod has several."""

from __future__ import annotations

from fairlead.scheduling.gangs.assemble import gang_key
from fairlead.scheduling.gangs.sources import GangContext
from scheduling.gangs.sources.members import member


def test_the_first_of_the_documented_order_counts() -> None:
    every = [
        ("PodGroup", {}, {}),
        ("Annotations", {"fairlead.dev/gang": "g"}, {}),
        (
            "LeaderWorkerSet",
            {"leaderworkerset.sigs.k8s.io/name": "s", "leaderworkerset.sigs.k8s.io/group-index": "0"},
            {},
        ),
        ("Job", {}, {"fairlead.dev/gang": "true"}),
        ("KAI PodGroup", {}, {"pod-group-name": "k"}),
        ("Volcano PodGroup", {}, {"scheduling.k8s.io/group-name": "v"}),
        ("Coscheduling PodGroup", {"scheduling.x-k8s.io/pod-group": "c"}, {}),
        ("Kueue pod group", {"kueue.x-k8s.io/pod-group-name": "q"}, {}),
    ]
    for first in range(len(every)):
        labels = {key: value for _, some, _ in every[first:] for key, value in some.items()}
        annotations = {key: value for _, _, some in every[first:] for key, value in some.items()}
        pod, _ = member(
            "p",
            labels=labels,
            annotations=annotations,
            owner=("batch/v1", "Job", "j"),
            pod_group="pg" if first == 0 else "",
        )
        ref = gang_key(pod, GangContext())
        assert ref is not None and ref.kind == every[first][0]
