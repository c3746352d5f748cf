"""How a service is kept up: rollouts with their analysis, draining, recovery, objectives, fairness, batch work."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from fairlead.api.kind import ATOMIC, Kind, list_map
from fairlead.api.structural import INT_OR_PERCENT, told

_Seconds = {"ge": 0, "le": 604_800}


class Criterion(Kind):
    """How much worse the new version may be in one measure before it is taken back.

    `margin_percent` is relative to the stable version for `ttft`, `itl` and `outputLength` (there in either
    direction), and in percentage points of all requests for `errorRate`.
    """

    measure: Annotated[
        Literal["errorRate", "ttft", "itl", "outputLength"],
        told(
            "errorRate: requests that failed. ttft: time to the first token. itl: time between tokens. outputLength: "
            "tokens of an answer."
        ),
    ]
    margin_percent: Annotated[float, told("The difference that must not be overlooked.", ge=0.01, le=1000)] = 3.0


def default_criteria() -> list[Criterion]:
    """What is looked at where nobody says: errors 1 percentage point, times and length of answers 3 %."""
    return [
        Criterion("errorRate", 1.0), Criterion("ttft", 3.0), Criterion("itl", 3.0), Criterion("outputLength", 3.0),
    ]  # fmt: skip


class Analysis(Kind):
    """The comparison of a new version with the stable one, by a sequential test with stated error rates."""

    criteria: Annotated[
        list[Criterion],
        told("What is compared. Default: all four measures.", list_map("measure"), max_length=4),
    ] = []
    false_alarm_percent: Annotated[
        float, told("Chance that a version that is as good is taken back.", ge=0.01, le=50)
    ] = 5.0
    missed_percent: Annotated[
        float,
        told("Chance that one that is worse by the margin passes: 100 minus this is the power.", ge=0.01, le=50),
    ] = 5.0
    min_requests: Annotated[int, told("Of each version, before anything is decided.", ge=1, le=100_000_000)] = 50
    max_requests: Annotated[
        int, told("Of the new version, after which an undecided comparison ends. 0: no bound.", ge=0)
    ] = 0
    max_seconds: Annotated[int, told("After which an undecided comparison ends. 0: no bound.", **_Seconds)] = 3600
    inconclusive: Annotated[
        Literal["Pause", "Promote", "Revert"], told("What follows where the comparison ends undecided.")
    ] = "Pause"
    warm_up_requests: Annotated[
        int, told("First answers of each new engine that do not count: its caches are cold.", ge=0, le=1_000_000)
    ] = 20


class CanaryStep(Kind):
    """One step of a canary: which share of the traffic, for how long at least."""

    weight: Annotated[int, told("Percent of the requests.", ge=0, le=100)]
    seconds: Annotated[int, told("How long at least, also where the analysis is done.", **_Seconds)] = 0
    pause: Annotated[bool, told("Whether a person has to say go on (`fairlead rollout resume`).")] = False


class Canary(Kind):
    """A new version gets a growing share of the traffic while it is compared with the stable one."""

    steps: Annotated[
        list[CanaryStep],
        told("Default: 5, 20 and 50 percent.", ATOMIC, max_length=32),
    ] = []
    http_route: Annotated[
        str,
        told(
            "HTTPRoute of the namespace whose backend weights follow, for gateways that split traffic there. Default: "
            "InferenceModelRewrite.",
            max_length=253,
        ),
    ] = ""


class Rollout(Kind):
    """How a change of the template comes about. No request is lost or cut by any of them."""

    strategy: Annotated[
        Literal["Rolling", "BlueGreen", "Canary"],
        told(
            "Rolling: replica by replica. BlueGreen: a whole new fleet, then all traffic at once. Canary: a growing "
            "share of the traffic."
        ),
    ] = "Rolling"
    max_surge: Annotated[
        int | str, msgspec.Meta(extra_json_schema={**INT_OR_PERCENT, "description": "Replicas beyond the desired."})
    ] = 1
    max_unavailable: Annotated[
        int | str,
        msgspec.Meta(extra_json_schema={**INT_OR_PERCENT, "description": "Replicas that may be missing meanwhile."}),
    ] = 0
    paused: Annotated[bool, told("Whether changes wait.")] = False
    progress_deadline_seconds: Annotated[
        int, told("Without progress for so long, the rollout counts as stuck.", ge=1, le=604_800)
    ] = 900
    revision_history_limit: Annotated[int, told("Former versions to keep for undo.", ge=0, le=100)] = 10
    canary: Annotated[Canary, told("The steps of strategy Canary.")] | None = None
    analysis: (
        Annotated[
            Analysis,
            told(
                "How the new version is compared with the stable one, by Canary and BlueGreen. Default: all four "
                "measures for Canary, no comparison for BlueGreen."
            ),
        ]
        | None
    ) = None


class Drain(Kind):
    """How a replica leaves: out of the pool, its streams end, then the process is told to stop."""

    timeout_seconds: Annotated[
        int, told("How long streams may go on before the engine is told to stop all the same.", **_Seconds)
    ] = 300
    settle_seconds: Annotated[
        int, told("How long every gateway has to hear of it before an idle engine is believed.", ge=0, le=600)
    ] = 1


class Recovery(Kind):
    """What is done about replicas that do not serve any more."""

    policy: Annotated[
        Literal["Gang", "Member", "None"],
        told(
            "What the loss of one pod of a replica costs. Gang: all are made anew. Member: that pod alone. None: "
            "nothing is done by itself."
        ),
    ] = "Gang"
    hang_seconds: Annotated[
        int, told("An engine with work and without a token for so long counts as hung. 0: never.", **_Seconds)
    ] = 120
    node_lost_seconds: Annotated[int, told("A node that is silent for so long counts as lost.", **_Seconds)] = 40
    start_seconds: Annotated[
        int,
        told("A replica that does not start within is tried elsewhere. 0: as long as its probes let it.", **_Seconds),
    ] = 0
    max_restarts: Annotated[int, told("In place, before a replica is moved to another node.", ge=0, le=1000)] = 3
    budget: Annotated[
        int | str,
        msgspec.Meta(
            extra_json_schema={**INT_OR_PERCENT, "description": "Replicas that may be replaced at the same time."}
        ),
    ] = "25%"
    elsewhere_seconds: Annotated[
        int, told("An alternative of `accelerators` that gets no place within is passed over.", **_Seconds)
    ] = 30


class WarmUp(Kind):
    """Requests that a new engine answers before it gets traffic."""

    mode: Annotated[
        Literal["Auto", "Off"],
        told("Auto: engines whose first requests are slow, and all where there are `prompts`. Off: none."),
    ] = "Auto"
    prompts: Annotated[
        list[Annotated[str, msgspec.Meta(min_length=1, max_length=65_536)]],
        told(
            "What they are asked to go on from, two tokens each: beginnings that many requests share are then in the "
            "prefix cache. Default: one short prompt, for engines that want it.",
            ATOMIC,
            max_length=16,
        ),
    ] = []
    timeout_seconds: Annotated[
        int, told("How long at most, in all: then the engine serves as it is.", ge=1, le=3600)
    ] = 60


class Slo(Kind):
    """What the service is to keep; scaling and the gateway work towards it. Times in milliseconds."""

    ttft_milliseconds: Annotated[int, told("Time to the first token.", ge=1)] | None = None
    itl_milliseconds: Annotated[int, told("Time between tokens.", ge=1)] | None = None
    e2e_milliseconds: Annotated[int, told("Time to the end of the answer.", ge=1)] | None = None
    percentile: Annotated[float, told("Percent of the requests that are to keep them.", ge=1, le=100)] = 95.0


class Objective(Kind):
    """A class of requests, which name it in a header: becomes an InferenceObjective."""

    name: Annotated[
        str,
        told(
            "What requests say in the header x-gateway-inference-objective.",
            max_length=63,
            pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$",
        ),
    ]
    priority: Annotated[int, told("Higher ones go first.", ge=-1_000_000, le=1_000_000)] = 0


class Batch(Kind):
    """Work without hurry that fills idle replicas."""

    allowed: Annotated[bool, told("Whether it may use this service's replicas.")] = False
    priority: Annotated[int, told("Of its requests; below 0: others go first.", ge=-1_000_000, le=1_000_000)] = -1
