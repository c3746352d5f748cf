"""The group batch, v1: its rows."""

from __future__ import annotations

from fairlead.embedded.apiserver.kinds.cron_job import CronJobStrategy
from fairlead.embedded.apiserver.kinds.definition import STATUS, at, resource_type
from fairlead.embedded.apiserver.kinds.job import JobStrategy
from fairlead.embedded.apiserver.registry import ResourceType


def types() -> list[ResourceType]:
    """The kinds of batch/v1."""
    return [
        resource_type(
            "batch/v1",
            "cronjobs",
            "CronJob",
            strategy=CronJobStrategy(),
            short_names=("cj",),
            categories=("all",),
            has_status=True,
            has_generation=True,
            reset_fields=STATUS,
        ),
        resource_type(
            "batch/v1",
            "jobs",
            "Job",
            strategy=JobStrategy(),
            categories=("all",),
            has_status=True,
            has_generation=True,
            selectable_fields={"status.successful": at("status", "succeeded", default="0")},
            reset_fields=STATUS,
        ),
    ]
