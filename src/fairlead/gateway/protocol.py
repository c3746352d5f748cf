"""Names that the picker and Envoy's configuration agree on. Imports nothing, so that both stay quick to start.

Protocol: endpoint picker protocol of the Gateway API Inference Extension.
"""

ENDPOINT_HEADER = "x-gateway-destination-endpoint"
"""The picked endpoint, ip:port; also the key in the dynamic metadata namespace `envoy.lb`."""

FALLBACK_HEADERS = ("x-fairlead-fallback-endpoint-1", "x-fairlead-fallback-endpoint-2")
"""Where Fairlead's own Envoy looks for an endpoint when the one before refused the connection."""

PICK_HEADER = "x-fairlead-pick"
"""Identifies a pick; comes back in Envoy's access log when the request is over. Clients may choose their
x-request-id, so that one does not identify anything."""
