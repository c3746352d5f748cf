"""`Benchmark`: a run of `fairlead bench` in the cluster, with its load from as many pods as it takes.

An object is one run: made, carried out once, and kept with its figures until it is deleted.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from fairlead.api.kind import API_VERSION, ATOMIC, OBSERVED_GENERATION, Conditions, Kind, Overlay
from fairlead.api.structural import filled, told
from fairlead.kube.resources import Resource

BENCHMARKS = Resource.of(API_VERSION, "benchmarks", "Benchmark")
MAX_STAGES = 32
MAX_WORKERS = 1000


class BenchmarkResults(Kind):
    """Where the run's folder goes: configuration, summary, records of every request, reports."""

    url: Annotated[
        str,
        told(
            "Folder that the run's folder is copied to: s3://bucket/bench, gs://bucket/bench, or file:///path on a "
            "volume of the template. Keys come from the environment of the pods.",
            max_length=2048,
        ),
    ] = ""
    claim: Annotated[
        str,
        told("PersistentVolumeClaim of the namespace in which the run's folder is made.", max_length=253),
    ] = ""


class BenchmarkSpec(Kind):
    """What is asked of whom, and by how many pods."""

    config: Annotated[
        dict[str, Any],
        told(
            "The configuration of the run, as `fairlead bench --dry-run` prints it: targets (url, model, api, …), load "
            "(stages of rate_per_s or users, a trace, a search), content, objective, cut, client, seed. Files that it "
            "names are files of the pods, see template. See docs/bench.md."
        ),
    ]
    workers: (
        Annotated[
            int,
            told(
                "Pods that send, beside the one that coordinates. Default: config.workers, else as the load needs.",
                ge=1,
                le=MAX_WORKERS,
            ),
        ]
        | None
    ) = None
    image: Annotated[str, told("With the command `fairlead`. Default: the controller's own.", max_length=1024)] = ""
    template: Overlay = {}
    results: Annotated[
        BenchmarkResults,
        told(
            "Where the run's folder goes. Default: nowhere; the status and the log have the figures.",
            filled(BenchmarkResults),
        ),
    ] = msgspec.field(default_factory=BenchmarkResults)
    start_deadline_seconds: Annotated[
        int,
        told("Within which all pods are to be there; else the run fails, and says which are not.", ge=1, le=604_800),
    ] = 600
    ttl_seconds_after_finished: (
        Annotated[
            int,
            told(
                "After this time past its end it is deleted, with its pods. Default: it stays.", ge=0, le=2_147_483_647
            ),
        ]
        | None
    ) = None
    suspend: Annotated[bool, told("Not to be begun yet. A run that has begun is not suspended; see stop.")] = False
    stop: Annotated[bool, told("End the run early: nothing more is sent, and what ran is reported.")] = False


class BenchmarkStage(Kind):
    """Figures of one stage; those that there are not are absent."""

    index: Annotated[int, told("From 0.")]
    valid: Annotated[bool, told("Whether the client kept its limits, so that the figures may be believed.")]
    name: Annotated[str, told("As 4/s or 16 users.")] = ""
    of: Annotated[str, told("What is intended: rate (requests/s), users or trace.")] = ""
    intended: Annotated[float, told("Requests per second, or users.")] = 0.0
    requests: Annotated[int, told("That were due in the stage.")] = 0
    failed: Annotated[int, told("Of them, those without a whole answer.")] = 0
    requests_per_second: Annotated[float, told("Whole answers per second.")] = 0.0
    output_tokens_per_second: Annotated[float, told("Tokens of answers per second.")] = 0.0
    ttft_p50_ms: Annotated[float, told("Time to the first token, median.")] | None = None
    ttft_p99_ms: Annotated[float, told("Time to the first token, 99th percentile.")] | None = None
    itl_p99_ms: Annotated[float, told("Time between tokens, 99th percentile.")] | None = None
    e2e_p99_ms: Annotated[float, told("Whole answer, 99th percentile.")] | None = None
    attainment: Annotated[float, told("Share of requests that kept the objective.")] | None = None
    goodput: Annotated[float, told("Requests per second that kept the objective.")] | None = None
    why: Annotated[str, told("Why it is not valid: the first reason.")] = ""


class BenchmarkSearch(Kind):
    """What a search for the highest load has found."""

    of: Annotated[str, told("rate or users.")] = ""
    best: Annotated[float, told("The highest load that kept the objective.")] | None = None
    failed: Annotated[float, told("The lowest load that did not.")] | None = None
    why: Annotated[str, told("Why the search ended.")] = ""


class BenchmarkShown(Kind):
    """What `kubectl get` prints of the stage with the most answers per second, or of the best step of a search."""

    rate: Annotated[str, told("Whole answers per second, as 12.3/s.")] = ""
    ttft: Annotated[str, told("Time to the first token, 99th percentile, as 84 ms.")] = ""
    goodput: Annotated[str, told("Requests per second that kept the objective, with their share.")] = ""


class BenchmarkStatus(Kind):
    """How it went."""

    observed_generation: Annotated[int, told(OBSERVED_GENERATION)] = 0
    state: Annotated[
        str, told("In a word: Refused, Suspended, Starting, Running, Ending, Complete, Invalid, Interrupted or Failed.")
    ] = ""
    message: Annotated[str, told("The same in a sentence: what it waits for, what is wrong, or how it ended.")] = ""
    workers: Annotated[int, told("Pods that send.")] = 0
    job: Annotated[str, told("The Job of its pods.")] = ""
    job_uid: Annotated[str, told("Its uid: a run is not begun a second time.")] = ""
    coordinator: Annotated[
        str, told("The pod that coordinates: its log has the progress, and all figures at the end.")
    ] = ""
    config_digest: Annotated[str, told("Of the configuration that was, or is, carried out.")] = ""
    start_time: Annotated[str, told("When its pods were asked for.")] = ""
    completion_time: Annotated[str, told("When it had ended.")] = ""
    run: Annotated[str, told("Id of the run, as `fairlead bench list` has it.")] = ""
    ended: Annotated[str, told("complete, interrupted or failed.")] = ""
    results: Annotated[str, told("Where the run's folder is.")] = ""
    shown: Annotated[BenchmarkShown, told("What `kubectl get` prints.")] | None = None
    stages: Annotated[list[BenchmarkStage], told("The stages, in order.", ATOMIC, max_length=MAX_STAGES)] = []
    stages_omitted: Annotated[int, told("Stages that are left out here: all are in the summary.")] = 0
    search: BenchmarkSearch | None = None
    notes: Annotated[list[str], told("What is to be read with the figures, shortened.", ATOMIC, max_length=16)] = []
    conditions: Conditions = msgspec.field(default_factory=list)


class Benchmark(Kind):
    """A run of load on model servers, from pods of the cluster."""

    metadata: dict[str, Any]
    spec: BenchmarkSpec
    status: BenchmarkStatus = msgspec.field(default_factory=BenchmarkStatus)
    api_version: str = API_VERSION
    kind: str = "Benchmark"

    @property
    def name(self) -> str:
        return str(self.metadata["name"])

    @property
    def namespace(self) -> str:
        return str(self.metadata.get("namespace", ""))

    @property
    def uid(self) -> str:
        return str(self.metadata.get("uid", ""))

    @property
    def generation(self) -> int:
        return int(self.metadata.get("generation", 0))
