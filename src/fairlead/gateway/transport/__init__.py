"""gRPC servers for the picker: our own on an asyncio protocol, and grpcio's as the reference.

Services see one seam (`call`) and never the transport.
"""

from fairlead.gateway.transport.call import Call, Metadata, Services, Stream
from fairlead.gateway.transport.health import Health, HealthServer
from fairlead.gateway.transport.limits import Limits
from fairlead.gateway.transport.reference import ReferenceServer
from fairlead.gateway.transport.server import FastServer
from fairlead.gateway.transport.tls import ServerTls

__all__ = [
    "Call",
    "FastServer",
    "Health",
    "HealthServer",
    "Limits",
    "Metadata",
    "ReferenceServer",
    "ServerTls",
    "Services",
    "Stream",
]
