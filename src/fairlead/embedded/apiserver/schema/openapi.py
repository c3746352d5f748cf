"""OpenAPI documents of the served types: v2 and v3, as kubectl and client libraries read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fairlead.embedded.apiserver.registry import ResourceType


def openapi_v3_index(types: Sequence[ResourceType]) -> dict[str, Any]:
    return {"paths": {}}


def openapi_v2(types: Sequence[ResourceType]) -> dict[str, Any]:
    return {"swagger": "2.0", "info": {"title": "Kubernetes", "version": "v1.36.2"}, "paths": {}, "definitions": {}}


def openapi_v3(types: Sequence[ResourceType]) -> dict[str, Any]:
    return {"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1.36.2"}, "paths": {}}
