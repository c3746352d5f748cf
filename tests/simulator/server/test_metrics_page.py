"""The metrics page side by side with that of the real vLLM 0.32: every series, type, label and bucket."""

from __future__ import annotations

import json
import re
from pathlib import Path

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from fairlead.simulator.server.metrics.exposition import Histogram, Page

RECORDED = json.loads((Path(__file__).parent / "data" / "vllm_metrics.json").read_text())
BODY = {"model": "tiny", "prompt": "hello", "max_tokens": 3, "ignore_eos": True}


def _series(text):
    """name -> type, label names, values of telling labels, buckets."""
    result = {}
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.M):
        suffix = "_count" if kind in ("histogram", "summary") else ""
        samples = re.findall(rf"^{re.escape(name + suffix)}(?:\{{(.*)\}})? ", text, re.M)
        entry = {"type": kind}
        if samples:
            entry["labels"] = sorted(set(re.findall(r'(\w+)="', samples[0])))
            for label in RECORDED.get(name, {}):
                if label in entry["labels"]:
                    entry[label] = sorted({re.search(rf'{label}="([^"]*)"', sample).group(1) for sample in samples})
        if kind == "histogram":
            found = re.findall(rf'^{re.escape(name)}_bucket\{{.*le="([^"]*)"', text, re.M)
            entry["buckets"] = list(dict.fromkeys(found))
        result[name] = entry
    return result


@pytest.fixture
async def page(engine):
    speculation = '{"num_speculative_tokens": 3, "acceptance": 0.5}'
    one = await engine(
        "--enable-lora", "--max-loras", "2", "--max-model-len", "2048", "--speculative-config", speculation,
        "--itl-ms", "1", "--ttft-ms", "1", "--lora-modules", "one=here",
    )  # fmt: skip
    async with aiohttp.ClientSession() as session:
        for model in ("tiny", "one"):
            async with session.post(one.url + "/v1/completions", json={**BODY, "model": model}) as response:
                assert response.status == 200
        async with session.get(one.url + "/metrics") as response:
            return await response.text()


async def test_has_every_series_of_vllm(page):
    ours = _series(page)
    assert sorted(set(RECORDED) - set(ours)) == []
    for name, recorded in RECORDED.items():
        assert ours[name] == recorded, name


async def test_prometheus_reads_it(page):
    families = {family.name: family for family in text_string_to_metric_families(page)}
    assert families["vllm:generation_tokens"].samples[0].value == 6
    success = {
        sample.labels.get("finished_reason"): sample.value for sample in families["vllm:request_success"].samples
    }
    assert success["length"] == 2
    lora = families["vllm:lora_requests_info"].samples
    assert {sample.labels["max_lora"] for sample in lora} == {"2"}
    assert all(sample.value > 1e9 for sample in lora)


async def test_each_rank_has_its_series(engine):
    one = await engine("--data-parallel-size", "3", "--ttft-ms", "0", "--itl-ms", "0")
    async with aiohttp.ClientSession() as session:
        for rank in ("2", "2", "0"):
            headers = {"X-data-parallel-rank": rank}
            async with session.post(one.url + "/v1/completions", json=BODY, headers=headers) as response:
                assert response.status == 200
        async with session.post(
            one.url + "/v1/completions", json=BODY, headers={"X-data-parallel-rank": "3"}
        ) as beyond:
            assert beyond.status == 400
            assert "data_parallel_rank 3 is out of range [0, 3)." in await beyond.text()
        async with session.get(one.url + "/metrics") as response:
            text = await response.text()
    finished = dict(re.findall(r'vllm:request_success_total\{engine="(\d)",finished_reason="length".*\} (\S+)', text))
    assert finished == {"0": "1.0", "1": "0.0", "2": "2.0"}


@given(st.lists(st.tuples(st.floats(0, 100), st.integers(1, 5)), max_size=30), st.lists(st.floats(0, 100), max_size=6))
def test_histograms_count_as_prometheus_does(observations, bounds):
    from prometheus_client import CollectorRegistry, generate_latest
    from prometheus_client import Histogram as Reference

    bounds = sorted(set(bounds)) or [1.0]
    ours, registry = Histogram(bounds), CollectorRegistry()
    reference = Reference("h", "x", ["a"], buckets=bounds, registry=registry).labels('q"\n\\')
    for value, weight in observations:
        ours.observe(value, weight)
        for _ in range(weight):
            reference.observe(value)
    page = Page(0.0)
    page.histogram("h", "x", [({"a": 'q"\n\\'}, ours)])

    def samples(text):
        return [
            (sample.name, sample.labels, round(sample.value, 6))
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if not sample.name.endswith("_created")
        ]

    assert samples(page.text().decode()) == samples(generate_latest(registry).decode())
