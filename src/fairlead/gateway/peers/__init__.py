"""Several active pickers behind one gateway: each knows what the others have in flight and have sent where, so that
they decide like one. Ends of requests that reach the wrong picker are handed over, and a starting one copies an index.
"""

from fairlead.gateway.peers.discovery import Discovery, FolderPeers, ServicePeers, StaticPeers, socket_in
from fairlead.gateway.peers.link import LinkState
from fairlead.gateway.peers.outbox import SharedPrefixes
from fairlead.gateway.peers.peers import Peers

__all__ = [
    "Discovery",
    "FolderPeers",
    "LinkState",
    "Peers",
    "ServicePeers",
    "SharedPrefixes",
    "StaticPeers",
    "socket_in",
]
