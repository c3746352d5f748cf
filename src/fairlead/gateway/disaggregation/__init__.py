"""A request in two places: whether its prompt is better computed by another engine, by which one, and how the answering
engine gets it. The gateway runs the prefill leg itself, or tells a sidecar in headers to do so."""

from fairlead.gateway.disaggregation.bodies import cannot_split
from fairlead.gateway.disaggregation.decide import Split, SplitSettings, Waits, Whole, predicted_waits_s, split
from fairlead.gateway.disaggregation.encode import Encoded, EncodeLegs
from fairlead.gateway.disaggregation.headers import STEERING_HEADERS, sidecar_headers, spread_encoders
from fairlead.gateway.disaggregation.legs import Leg, LegRequest, LegSettings, PrefillLegs

__all__ = [
    "STEERING_HEADERS",
    "EncodeLegs",
    "Encoded",
    "Leg",
    "LegRequest",
    "LegSettings",
    "PrefillLegs",
    "Split",
    "SplitSettings",
    "Waits",
    "Whole",
    "cannot_split",
    "predicted_waits_s",
    "sidecar_headers",
    "split",
    "spread_encoders",
]
