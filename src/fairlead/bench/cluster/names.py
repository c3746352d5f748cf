"""Names, labels, ports and variables by which a benchmark's objects and pods find each other. Pure."""

from __future__ import annotations

import hashlib
import re
from typing import Final

BENCHMARK_LABEL: Final = "fairlead.dev/benchmark"
"""On everything that belongs to one: its uid, as names may be too long for a label."""
INDEX_ANNOTATION: Final = "batch.kubernetes.io/job-completion-index"
DIGEST_ANNOTATION: Final = "fairlead.dev/config-digest"

CONTAINER: Final = "bench"
PORT: Final = 7450
"""Where the coordinator takes calls."""
COORDINATOR: Final = 0
"""Its index in the Job; worker n is index n + 1."""

CONFIG_ENV: Final = "FAIRLEAD_BENCH_CONFIG"
SERVICE_ENV: Final = "FAIRLEAD_BENCH_COORDINATOR"
WORKERS_ENV: Final = "FAIRLEAD_BENCH_WORKERS"
POD_IP_ENV: Final = "FAIRLEAD_BENCH_POD_IP"
RESULTS_ENV: Final = "FAIRLEAD_BENCH_RESULTS"
JOB_ENV: Final = "FAIRLEAD_BENCH_JOB"
"""What each pod is told; with the token and the deadline of `calling`."""
INDEX_ENV: Final = "JOB_COMPLETION_INDEX"
"""Set by the Job controller."""
CLAIM_PATH: Final = "/results"
"""Where a claim for results is mounted."""

_LONGEST: Final = 50
"""With `-NNNN` behind it, it is a host name, which has at most 63 characters."""


def job_name(benchmark: str) -> str:
    """Of the Job, its Service and its Secret: a DNS label, shortened with a hash where it would be too long."""
    name = "bench-" + re.sub(r"[^a-z0-9-]", "-", benchmark)
    if len(name) <= _LONGEST and name == f"bench-{benchmark}":
        return name
    digest = hashlib.sha256(benchmark.encode()).hexdigest()[:8]
    return f"{name[: _LONGEST - 9].rstrip('-')}-{digest}"


def pod_host(job: str, index: int) -> str:
    """The host name of a pod, as the Job controller sets it."""
    return f"{job}-{index}"


def coordinator_address(job: str, namespace: str) -> str:
    """Where workers call; without the cluster's domain, which resolvers search."""
    return f"{pod_host(job, COORDINATOR)}.{job}.{namespace}.svc:{PORT}"
