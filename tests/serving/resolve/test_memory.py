"""Weights and memory: what cannot fit is refused with the arithmetic, what is not known is said and refuses nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.serving.resolve import ClusterFacts, Resolved, resolve_service
from fairlead.serving.resolved import Unservable
from serving.resolve.services import FACTS, LLAMA_70B, VLLM, knowing, service

H100: dict[str, Any] = {"name": "h100", "deviceClass": "gpu.nvidia.com", "model": "H100-SXM"}
B200: dict[str, Any] = {"name": "b200", "deviceClass": "gpu.nvidia.com", "model": "B200"}
WEIGHTS = 141_000_000_000
KNOWN = knowing(config=LLAMA_70B, weights_bytes=WEIGHTS)


def resolved(facts: ClusterFacts, *accelerators: dict[str, Any], **spec: Any) -> Resolved:
    return resolve_service(service(**{**VLLM, **spec, "accelerators": list(accelerators or (H100,))}), (), facts)


def refusal(facts: ClusterFacts, *accelerators: dict[str, Any], **spec: Any) -> str:
    with pytest.raises(Unservable) as refused:
        resolved(facts, *accelerators, **spec)
    assert refused.value.field == "accelerators"
    return str(refused.value)


@pytest.mark.parametrize("facts", [KNOWN, knowing(weights_bytes=WEIGHTS)])
def test_too_large_weights_are_refused_with_every_number(facts: ClusterFacts) -> None:
    said = refusal(facts)
    assert "weights 141.0 GB / (tensor 1 x pipeline 1) = 141.0 GB for each of 1 H100-SXM, which have 85.9 GB" in said
    assert "92% of it usable (79.0 GB): 63.0 GB too little" in said
    assert "it needs at least tensor 2 x pipeline 1 (2 devices)" in said


def test_parallelism_divides_them() -> None:
    made = resolved(KNOWN, parallelism={"tensor": 8})
    assert made.warnings == ()
    (tight,) = resolved(KNOWN, parallelism={"tensor": 2}).warnings
    assert "left for the KV cache" in tight and "less than one request of 131072" in tight
    assert resolved(KNOWN, parallelism={"tensor": 2}, model={**VLLM["model"], "maxContextTokens": 8192}).warnings == ()


def test_the_share_that_the_service_leaves_the_engine_counts() -> None:
    assert "50% of it usable" in refusal(KNOWN, parallelism={"tensor": 2}, kvCache={"memoryPercent": 50})


def test_alternatives_that_are_too_small_are_passed_over_and_that_is_said() -> None:
    made = resolved(KNOWN, H100, {**B200, "args": ["--x"]})
    assert [way.name for way in made.roles["unified"].ways] == ["b200"]
    assert any("h100" in w and "passed over" in w for w in made.warnings)
    (way,) = resolved(KNOWN, H100, B200).roles["unified"].ways
    assert way.claim is not None
    assert way.claim.spec["devices"]["requests"][0]["exactly"]["deviceClassName"] == "gpu.nvidia.com"


def test_what_becomes_known_changes_no_revision() -> None:
    spec = {"parallelism": {"tensor": 2}}
    before = resolved(FACTS, H100, B200, **spec)
    for facts in (KNOWN, knowing(digest="sha256:1"), knowing(exact_source="/m"), knowing(mountable=False)):
        after = resolved(facts, H100, B200, **spec)
        assert (after.revision, after.shadow) == (before.revision, before.shadow)


@pytest.mark.parametrize(
    ("facts", "entry", "said"),
    [
        (FACTS, H100, "config.json has not been read"),
        (KNOWN, {**H100, "model": ""}, "model is not said"),
        (KNOWN, {**H100, "model": "quantum-1"}, "no accelerator is named 'quantum-1'"),
        (knowing(config={"model_type": "mamba", "ssm_state_size": 4}), H100, "not modelled"),
    ],
)
def test_what_is_not_known_refuses_nothing_and_is_said(facts: ClusterFacts, entry: dict[str, Any], said: str) -> None:
    (warning,) = resolved(facts, entry).warnings
    assert said in warning and "seen when the engine starts" in warning


def test_engines_that_only_simulate_are_not_reckoned() -> None:
    assert resolved(KNOWN, runtime="simulated").warnings == ()


@given(st.integers(1, 2_000), st.sampled_from([1, 2, 4, 8]), st.sampled_from([1, 2, 4]))
def test_the_remedy_is_one(weights_gb: int, tensor: int, pipeline: int) -> None:
    """What a refusal proposes is accepted."""
    facts = knowing(config=LLAMA_70B, weights_bytes=weights_gb * 10**9)
    try:
        resolved(facts, parallelism={"tensor": tensor, "pipeline": pipeline})
    except Unservable as error:
        said = str(error)
        if "at least" not in said:
            assert weights_gb > 500
            return
        proposed = said.partition("at least tensor ")[2].partition(" (")[0]
        tensor, pipeline = (int(part) for part in proposed.split(" x pipeline "))
        resolved(facts, parallelism={"tensor": tensor, "pipeline": pipeline})
