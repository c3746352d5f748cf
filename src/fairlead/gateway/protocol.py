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

ENDPOINT_SUBSET_HEADER = f"{ENDPOINT_HEADER}-subset"
"""Key in the filter metadata namespace `envoy.lb.subset_hint`: endpoints the request may go to."""

ENDPOINT_SERVED_HEADER = f"{ENDPOINT_HEADER}-served"
"""Key in the response's metadata namespace `envoy.lb`: the endpoint that answered."""

OBJECTIVE_HEADERS = ("x-llm-d-inference-objective", "x-gateway-inference-objective")
FAIRNESS_HEADERS = ("x-llm-d-inference-fairness-id", "x-gateway-inference-fairness-id")
REWRITE_HEADERS = ("x-llm-d-model-name-rewrite", "x-gateway-model-name-rewrite")
TTFT_SLO_HEADERS = ("x-llm-d-slo-ttft-ms", "x-slo-ttft-ms")
TPOT_SLO_HEADERS = ("x-llm-d-slo-tpot-ms", "x-slo-tpot-ms")
"""Each: the name now, then the older one, which is read where the new one is not there."""

SESSION_TOKEN_HEADER = "x-session-token"
"""base64 of namespace/name of the pod that answered before."""
SESSION_ID_HEADER = "x-session-id"

PREFILL_HEADER = "x-prefiller-host-port"
ENCODE_HEADER = "x-encoder-hosts-ports"
"""For sidecars that run the prefill or encode leg themselves."""

DROP_REASON_HEADER = "x-llm-d-request-dropped-reason"
"""On answers of the gateway: why the request was not served."""

ENGINE_PROTOCOL_HEADER = "x-fairlead-engine-protocol"
"""How Fairlead's own Envoy speaks to the endpoint: `h2c`; absent = HTTP/1.1. Set by routes to such pools."""

TRAILERS_HEADER = "x-fairlead-trailers"
"""Tells Fairlead's own Envoy that trailers follow the request's body: it must then not keep it for a retry."""

USAGE_NAMESPACE = "fairlead.usage"
"""Dynamic metadata of Fairlead's own Envoy: token counts of the answer (prompt, output, cached), and of a streamed one
the number of `events` and `token_wait_ms`, from the first event to the first that holds a token."""

FIRST_BODY_TAG = "first_body_us"
"""Tag of an access-log entry: microseconds from the request's first byte to the first of the answer's body."""

TEST_ENDPOINT_HEADER = "test-epp-endpoint-selection"
TEST_SERVED_HEADER = "x-conformance-test-served-endpoint"
"""What the conformance tests of gateways say and ask; obeyed only where a listener is set to."""

CONTROL_HEADERS = frozenset(
    (
        *OBJECTIVE_HEADERS, *FAIRNESS_HEADERS, *REWRITE_HEADERS, *TTFT_SLO_HEADERS, *TPOT_SLO_HEADERS,
        SESSION_TOKEN_HEADER, SESSION_ID_HEADER, "prefer", "x-request-id", "traceparent", "tracestate",
        "anthropic-version", "authorization", TEST_ENDPOINT_HEADER,
    )
)  # fmt: skip
"""Request headers that decisions read."""
