"""An overlay over the pod template of a service (`fairlead.api.overlay`): its mistakes are the service's. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fairlead.api import overlay as overlays
from fairlead.serving.resolved import Unservable

Json = dict[str, Any]


def overlaid(template: Json, overlay: Mapping[str, Any], field: str) -> Json:
    """The template with the overlay over it; `field` names the overlay in messages. Raises Unservable."""
    try:
        return overlays.overlaid(template, overlay, field)
    except overlays.OverlayError as error:
        raise Unservable(error.field, error.value, error.remedy) from error
