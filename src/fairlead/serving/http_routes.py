"""HTTPRoutes whose backend weights follow a canary, for gateways that split traffic there. They belong to others: only
the shares of our own pools are changed."""

from __future__ import annotations

from typing import Any

from fairlead.api.model_service import ModelService
from fairlead.kube.client import Client
from fairlead.kube.errors import Conflict, NotFound
from fairlead.kube.resources import Resource
from fairlead.serving.render.routes import route_patch, routes_to

HTTP_ROUTES: Resource[dict[str, Any]] = Resource.of("gateway.networking.k8s.io/v1", "httproutes", "HTTPRoute")


class HttpRoutes:
    """What was written last is remembered, so that a route is read only when a weight changes."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._kept: dict[str, tuple[str, int | None]] = {}  # uid of a service -> route, and the weight it has

    async def keep(self, service: ModelService, weight: int | None) -> str:
        """Give the version on trial its share; None where there is none. Returns what is wrong with the route, or
        nothing. Raises ApiError."""
        canary = service.spec.rollout.canary
        name = canary.http_route if canary is not None else ""
        if not name:
            self._kept.pop(service.uid, None)
            return ""
        if self._kept.get(service.uid) == (name, weight):
            return ""
        field = f"spec.rollout.canary.httpRoute is {name!r}"
        try:
            route = await self._client.get(HTTP_ROUTES, name, service.namespace)
            if not routes_to(service, route):
                return f"{field}: none of its rules has the InferencePool {service.name} as a backend; add one"
            patch = route_patch(service, route, weight)
            if patch is not None:
                await self._client.patch(HTTP_ROUTES, name, patch, service.namespace)
        except NotFound:
            return f"{field}: there is no such HTTPRoute in {service.namespace}"
        except Conflict:
            return f"{field}: it was changed by somebody at the same time"
        self._kept[service.uid] = (name, weight)
        return ""
