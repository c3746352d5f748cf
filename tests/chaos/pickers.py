"""A picker as far as its traffic reports tell: sums of requests and errors of each engine that serves, while asked."""

from __future__ import annotations

from typing import Any

from chaos.service_invariants import REVISION, TRACK, is_leaving, is_ready, labels_of
from chaos.trial import Trial
from fairlead.api.traffic_report import REPORT_ANNOTATION, TRAFFIC_REPORTS
from fairlead.kube.errors import NotFound

PER_ROUND = 100
Json = dict[str, Any]


class Picker:
    """Of one service. `failing`: share of the requests that fail at engines of any other revision than `stable`."""

    def __init__(self, trial: Trial, stable: str, failing: float) -> None:
        self._trial = trial
        self._stable = stable
        self._failing = failing
        self._sums: dict[tuple[str, str], int] = {}  # what was asked, engine -> requests

    async def report(self) -> None:
        """One round of requests, told in a report for each pool that asks for one."""
        for pool in self._trial.now("InferencePool"):
            asked = (pool["metadata"].get("annotations") or {}).get(REPORT_ANNOTATION, "")
            if asked:
                await self._write(pool, asked)

    async def forget(self) -> None:
        """As pools ask no more: a picker deletes its reports."""
        for report in (await self._trial.client.list(TRAFFIC_REPORTS, self._trial.namespace)).items:
            try:
                await self._trial.client.delete(TRAFFIC_REPORTS, report["metadata"]["name"], self._trial.namespace)
            except NotFound:
                continue

    async def _write(self, pool: Json, asked: str) -> None:
        name = pool["metadata"]["name"]
        track = pool["spec"]["selector"]["matchLabels"][TRACK]
        pods = [p for p in self._trial.now("Pod") if labels_of(p)[TRACK] == track and is_ready(p) and not is_leaving(p)]
        groups = [self._group(p, asked) for p in pods]
        body = {
            "metadata": {"name": f"{name}.p", "namespace": self._trial.namespace},
            "pool": name, "picker": "p", "asked": asked, "groups": groups,
        }  # fmt: skip
        await self._trial.client.apply(TRAFFIC_REPORTS, body, force=True)

    def _group(self, pod: Json, asked: str) -> Json:
        revision = labels_of(pod)[REVISION]
        key = asked, pod["metadata"]["uid"]
        requests = self._sums[key] = self._sums.get(key, 0) + PER_ROUND
        errors = 0 if revision == self._stable else round(requests * self._failing)
        return {
            "revision": revision, "model": "m", "endpoint": f"{pod['status']['podIP']}:8000", "requests": requests,
            "errors": errors,
        }  # fmt: skip
