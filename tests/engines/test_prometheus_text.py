"""The fast metrics reader against a full one."""

import time

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from fairlead.engines.prometheus_text import labels_of, read_samples


@given(
    st.lists(
        st.tuples(st.text(max_size=20), st.floats(allow_nan=False)), min_size=1, max_size=5, unique_by=lambda p: p[0]
    )
)
def test_reads_what_the_reference_parser_reads(series):
    registry = CollectorRegistry()
    Gauge("wanted_longer", "x", registry=registry).set(7)
    gauge = Gauge("wanted", 'help with "quotes"\nwanted{a="b"} 1', ["a", "b"], registry=registry)
    Counter("other", "x", registry=registry)
    for text, value in series:
        gauge.labels(text, "}").set(value)
    page = generate_latest(registry)
    expected = {
        (tuple(sorted(s.labels.items())), s.value)
        for family in text_string_to_metric_families(page.decode())
        for s in family.samples
        if s.name == "wanted"
    }
    got = {(tuple(sorted(labels_of(s).items())), s.value) for s in read_samples(page, [b"wanted"])[b"wanted"]}
    assert got == expected


def test_garbage_lines_are_left_out():
    page = b'a 1\na{x=\na{} notanumber\na{x="1"} 3 1700000000000\nb\nb \n'
    assert [s.value for s in read_samples(page, [b"a"])[b"a"]] == [1.0, 3.0]
    assert read_samples(page, [b"b", b"c"]) == {}


def test_a_large_page_is_read_in_well_under_a_millisecond():
    from fairlead.engines.vllm import vllm_signals
    from fairlead.simulator.metrics import EngineMetrics

    page = EngineMetrics("m", block_size=16, num_gpu_blocks=100, max_model_len=131072).page()
    page += b"".join(b'filler_metric_bucket{model_name="m",le="%d"} 0.0\n' % i for i in range(60_000 // 50))
    best = min(_timed(lambda: vllm_signals(page)) for _ in range(20))
    assert best < 0.002


def _timed(call):
    began = time.perf_counter()
    call()
    return time.perf_counter() - began
