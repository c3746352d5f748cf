"""Sessions of the external-processing protocol, by which gateways ask the picker where a request goes.

Knows Envoy's messages; the director behind it does not.
"""

from fairlead.gateway.extproc.listener import FOREIGN, MAX_BODY_BYTES, OWN, BodyMemory, BodyMode, Listener
from fairlead.gateway.extproc.session import Session
from fairlead.gateway.extproc.wire import MAX_FRAME_BYTES

__all__ = [
    "FOREIGN", "MAX_BODY_BYTES", "MAX_FRAME_BYTES", "OWN", "BodyMemory", "BodyMode", "Listener", "Session",
]  # fmt: skip
