"""The metrics page as Prometheus reads it: every series once, whatever pools are called and clients call themselves."""

from __future__ import annotations

import json
from collections import Counter
from random import Random

from prometheus_client.parser import text_string_to_metric_families

from fairlead.gateway.assembly import Assembly
from fairlead.gateway.endpoints import Endpoint, Pool
from fairlead.gateway.observe.requests import MAX_MODELS
from fairlead.gateway.route import Completion, RequestHead

CHAT = "/v1/chat/completions"


def _ask(parts: Assembly, model: str, address: str, **headers: str) -> None:
    """A request through a foreign gateway that has chosen the endpoint, and its end."""
    found = []
    head = RequestHead("POST", CHAT, {k.replace("_", "-"): v for k, v in headers.items()}, (address,))
    assert parts.director.decide_on_headers(head) is None
    body = {"model": model, "messages": [{"role": "user", "content": "hello"}]}
    parts.director.route(head, json.dumps(body).encode(), found.append)
    parts.director.completed(Completion(found[0].pick_id, 500, 1.0, first_byte_s=0.3, output_tokens=5))


def _samples(parts: Assembly):
    families = text_string_to_metric_families(parts.metrics_page().decode())
    return [sample for family in families for sample in family.samples]


def test_pools_that_share_a_name_or_a_model_have_every_series_once():
    parts = Assembly(random=Random(1))
    for n, key in enumerate(("blue/llama", "green/llama")):
        parts.registry.set_pool(Pool(key, ("llama",), (Endpoint(f"10.0.0.{n}:80"),)))
        _ask(parts, "llama", f"10.0.0.{n}:80", x_llm_d_inference_fairness_id='a "b"\\c')
    samples = _samples(parts)
    counts = Counter((s.name, *sorted(s.labels.items())) for s in samples)
    assert [series for series, count in counts.items() if count > 1] == []
    by_name = {(s.name, s.labels.get("name")): s.value for s in samples}
    assert by_name["llm_d_epp_request_total", None] == 2
    assert by_name["llm_d_epp_request_error_total", None] == 2
    assert by_name["llm_d_epp_request_output_tokens_sum", None] == 10
    assert by_name["inference_pool_ready_pods", "blue/llama"] == 1
    assert any(s.labels.get("fairness_id") == 'a "b"\\c' for s in samples)


def test_clients_cannot_make_labels_without_end_by_rewriting():
    parts = Assembly(random=Random(1))
    parts.registry.set_pool(Pool("ns/any", (), (Endpoint("10.0.0.1:80"),)))
    for n in range(MAX_MODELS + 50):
        _ask(parts, "m", "10.0.0.1:80", x_llm_d_model_name_rewrite=f"target-{n}")
    assert len(parts.metrics.rewrites) == MAX_MODELS + 1
    assert sum(parts.metrics.rewrites.values()) == MAX_MODELS + 50
