"""The fast metrics reader against a full one."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from fairlead.engines.prometheus_text import MetricsPage, labels_of


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
    got = {(tuple(sorted(labels_of(s).items())), s.value) for s in MetricsPage(page).samples(b"wanted")}
    assert got == expected


def test_garbage_lines_are_left_out():
    page = b'a 1\na{x=\na{} notanumber\na{x="1"} 3 1700000000000\nb\nb \n'
    assert [s.value for s in MetricsPage(page).samples(b"a")] == [1.0, 3.0]
    assert MetricsPage(page).samples(b"b") == MetricsPage(page).samples(b"c") == []


@given(st.permutations([b"h_bucket", b"h_count", b"h_sum", b"after", b"absent", b"before"]))
def test_every_order_of_asking_gives_the_same(names):
    registry = CollectorRegistry()
    Gauge("before", "x", registry=registry).set(1)
    histogram = Histogram("h", "x", ["rank"], buckets=(1, 2), registry=registry)
    for rank in ("0", "1"):
        histogram.labels(rank).observe(1.5)
    Gauge("after", "x", registry=registry).set(2)
    page = MetricsPage(generate_latest(registry))
    read = {name: [s.value for s in page.samples(name)] for name in names}
    assert read == {
        b"before": [1.0],
        b"h_bucket": [0.0, 1.0, 1.0] * 2,
        b"h_count": [1.0] * 2,
        b"h_sum": [1.5] * 2,
        b"after": [2.0],
        b"absent": [],
    }


def test_names_that_begin_alike_are_told_apart():
    page = b'wanted_total{a="1"} 1\nwanted5 5\nwanted{a="}"} 2\nwanted_sum 3\n'
    assert [s.value for s in MetricsPage(page).samples(b"wanted")] == [2.0]


def test_a_real_page_reads_like_the_reference_parser():
    page = (Path(__file__).parents[1] / "data" / "engines" / "vllm-0.32-metrics.txt").read_bytes()
    reference: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in text_string_to_metric_families(page.decode()):
        for sample in family.samples:
            reference.setdefault(sample.name, []).append((sample.labels, sample.value))
    assert len(reference) > 100
    read = MetricsPage(page)
    for name, samples in reference.items():
        assert [(dict(labels_of(s)), s.value) for s in read.samples(name.encode())] == samples
