"""What all of Fairlead's own kinds have in common: their group and version, the base of their structs, conditions."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from fairlead.api.pod_parts import OVERLAY
from fairlead.api.structural import Json, told

GROUP = "fairlead.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"


class Kind(msgspec.Struct, rename="camel", omit_defaults=True):
    """Base of the structs of a kind: camelCase on the wire, defaults left out."""


class Condition(Kind):
    """A `meta/v1` condition."""

    type: Annotated[str, told("Which aspect.")]
    status: Annotated[str, told("True, False or Unknown.")]
    reason: Annotated[str, told("Why, as one word for programs.")]
    message: Annotated[str, told("Why, as a sentence for people.")] = ""
    last_transition_time: Annotated[str, told("Since when the status is what it is.")] = ""
    observed_generation: Annotated[int, told("The metadata.generation that it is said of.")] = 0


ATOMIC: Json = {"x-kubernetes-list-type": "atomic"}
SET: Json = {"x-kubernetes-list-type": "set"}


def list_map(*keys: str) -> Json:
    """Schema of a list whose items are told apart by these fields."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": list(keys)}


Conditions = Annotated[list[Condition], told("How it stands, by aspect.", list_map("type"))]
Overlay = Annotated[
    dict[str, Any],
    told("Metadata and spec to lay over what Fairlead makes, by strategic merge: as `kubectl patch` would.", OVERLAY),
]

OBSERVED_GENERATION = "The metadata.generation that the status is said of."
