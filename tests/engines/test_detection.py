"""Which server a page is of."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.engines.detection import engine_of

PAGES = Path(__file__).parents[1] / "data" / "engines"


@pytest.mark.parametrize(
    ("page", "runtime"),
    [
        ("furiosa-llm-2026", "furiosa-llm"), ("jetstream-0.3", "jetstream"), ("llama-cpp", "llama-cpp"),
        ("mlserver-1", "mlserver"), ("openvino-2025", "openvino"), ("sglang-0.5", "sglang"),
        ("tensorrt-llm-1", "tensorrt-llm"), ("tgi-3", "tgi"), ("triton-trtllm", "triton"), ("vllm-0.32", "vllm"),
    ],
)  # fmt: skip
def test_a_page_tells_its_server(page, runtime):
    engine = engine_of((PAGES / f"{page}-metrics.txt").read_bytes())
    assert engine is not None and engine.runtime == runtime


@pytest.mark.parametrize("page", [b"", b"<html>", b"process_cpu_seconds_total 3\nup 1\n"])
def test_what_is_no_engines_page_is_of_none(page):
    assert engine_of(page) is None


@given(st.binary(max_size=300))
def test_garbage_raises_nothing(page):
    engine_of(page)
