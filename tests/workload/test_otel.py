"""Spans of OpenTelemetry as traces: every way they come in files, and what is no call of a model."""

import json

import pytest

from fairlead.workload import TraceError, TraceFile

START = 1_760_000_000_000_000_000


def span(at_s, prompt, output, operation="chat", **more):
    attributes = {"gen_ai.operation.name": operation, "gen_ai.request.model": "m", **more}
    attributes |= {"gen_ai.usage.input_tokens": prompt, "gen_ai.usage.output_tokens": output}
    return {"name": operation, "startTimeUnixNano": str(START + int(at_s * 1e9)), "attributes": attributes}


def otlp(spans):
    """OTLP's JSON: attributes as a list, 64-bit numbers as strings."""

    def value(given):
        return {"intValue": str(given)} if isinstance(given, int) else {"stringValue": given}

    listed = [
        {**s, "attributes": [{"key": k, "value": value(v)} for k, v in s["attributes"].items() if v is not None]}
        for s in spans
    ]
    return {"resourceSpans": [{"resource": {}, "scopeSpans": [{"scope": {}, "spans": listed}]}]}


SPANS = [
    span(2.5, 30, 4),  # spans are exported when they end, so not in order of their begin
    span(0.0, 10, 2, **{"gen_ai.conversation.id": "c1"}),
    span(0.1, 999, 999, "invoke_agent"),
    span(0.2, None, None, "execute_tool"),
    span(1.0, 20, 3, "text_completion"),
    span(1.5, 7, 0),
    {"name": "GET /", "startTimeUnixNano": str(START), "attributes": {"http.request.method": "GET"}},
]
WANTED = [(0.0, 10, 2, "c1"), (1.0, 20, 3, ""), (2.5, 30, 4, "")]


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(json.dumps(otlp([one])) for one in SPANS),
        json.dumps(otlp(SPANS)) + "\n" + json.dumps(otlp([])) + "\n",
        json.dumps(otlp(SPANS), indent=2),
        "\n".join(map(json.dumps, SPANS)),
        json.dumps({"spans": SPANS}),
        json.dumps({"spans": SPANS}, indent=1),
        json.dumps(SPANS, indent=4),
    ],
    ids=["otlp-lines", "otlp-line", "otlp-document", "spans", "spans-key", "spans-document", "list"],
)
def test_calls_of_models_in_order_of_their_begin(tmp_path, text):
    path = tmp_path / "spans.json"
    path.write_text(text)
    trace = TraceFile(path)
    assert trace.format.name == "otel"
    found = [(round(r.time_s, 6), r.prompt_tokens, r.output_tokens, r.session) for r in trace]
    assert found == WANTED
    assert trace.counts.unanswered == 4


def test_older_names_and_dates(tmp_path):
    path = tmp_path / "spans.jsonl"
    old = {"gen_ai.usage.prompt_tokens": 5, "gen_ai.usage.completion_tokens": 6}
    rows = [
        {"start_time": "2025-10-09T10:00:01.5Z", "attributes": old},
        {"start_time": "2025-10-09T10:00:00+00:00", "attributes": old},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert [(r.time_s, r.prompt_tokens, r.output_tokens) for r in TraceFile(path)] == [(0.0, 5, 6), (1.5, 5, 6)]


@pytest.mark.parametrize("per_s", [1, 1_000, 1_000_000, 1_000_000_000])
def test_starts_are_in_whatever_unit_they_are_written(tmp_path, per_s):
    """Of now, as other exporters write them; OTLP's own field is in nanoseconds whatever its value."""
    path = tmp_path / "spans.jsonl"
    tokens = {"gen_ai.usage.input_tokens": 5, "gen_ai.usage.output_tokens": 6}
    rows = [{"startTime": round((1_700_000_000 + at_s) * per_s), "attributes": tokens} for at_s in (0, 1, 600)]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert [round(r.time_s, 6) for r in TraceFile(path)] == [0.0, 1.0, 600.0]
    rows = [{"startTimeUnixNano": str(at_ns), "attributes": tokens} for at_ns in (0, 5, 1_000_000_000)]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert [r.time_s for r in TraceFile(path)] == pytest.approx([0.0, 5e-9, 1.0])


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (span(1, "many", 5), "gen_ai.usage.input_tokens is 'many', expected a whole number of tokens"),
        (span(1, None, 5), "gen_ai.usage.input_tokens is None"),
        (span(1, 5, -1), "gen_ai.usage.output_tokens is -1"),
        ({**span(1, 5, 5), "startTimeUnixNano": "soon"}, "startTimeUnixNano is 'soon'"),
        ({**span(1, 5, 5), "startTimeUnixNano": None}, "startTimeUnixNano is None"),
        ({**span(1, 5, 5), "attributes": [5]}, "attributes is 5, expected an object with key and value"),
        (7, "line is '7', expected a span"),
    ],
)
def test_a_broken_span_is_named_by_line_field_and_value(tmp_path, broken, said):
    path = tmp_path / "spans.jsonl"
    path.write_text("\n".join(map(json.dumps, [SPANS[0], broken, SPANS[1]])))
    with pytest.raises(TraceError) as raised:
        list(TraceFile(path))
    assert str(raised.value).startswith(f"{path}:2: {said}")
    skipping = TraceFile(path, skip_broken=True)
    assert len(list(skipping)) == 2 and skipping.counts.broken == 1


def test_a_document_that_breaks_off(tmp_path):
    path = tmp_path / "spans.json"
    path.write_text(json.dumps(otlp(SPANS), indent=2)[:-20])
    with pytest.raises(TraceError, match=r"spans\.json:1: line is .*expected a JSON object"):
        list(TraceFile(path, format_name="otel"))
