"""The headless Service by which the pods of a replica find each other. Pure."""

from __future__ import annotations

from typing import Any, Final

from fairlead.api.model_service import ModelService
from fairlead.engines.engine import DEFAULT_PORT
from fairlead.serving.names import SERVICE_LABEL
from fairlead.serving.render.labels import owned
from fairlead.serving.resolved import Resolved

Json = dict[str, Any]

_SUFFIX: Final = "-members"


def headless_name(service: str) -> str:
    """Name of the Service, which is the subdomain of the pods."""
    return f"{service}{_SUFFIX}"


def headless_service(service: ModelService, resolved: Resolved) -> Json | None:
    """Members are found before they are ready: they become so only together. None where no replica has several pods."""
    if all(way.size == 1 for role in resolved.roles.values() for way in role.ways):
        return None
    return owned(
        service, "v1", "Service", headless_name(service.name),
        spec={
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": {SERVICE_LABEL: service.name},
            "ports": [{"name": "http", "port": DEFAULT_PORT, "targetPort": DEFAULT_PORT}],
        },
    )  # fmt: skip
