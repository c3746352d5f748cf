"""Reports of two kinds, and what is said of broken ones."""

from __future__ import annotations

import json

import pytest

from fairlead.simulator.calibration import Observation, ReportError, read_report, write_report

SEEN = [Observation(float(i), 10 + i, (i + 0.5, i + 0.6, i + 0.8)) for i in range(25)]


def test_own_form_is_read_as_written(tmp_path):
    path = tmp_path / "report.jsonl"
    write_report(reversed(SEEN), path)
    assert list(read_report(path).observations) == SEEN
    fitted, held_out = read_report(path).split(0.6)
    assert (len(fitted.observations), len(held_out.observations)) == (15, 10)
    assert max(o.sent_s for o in fitted.observations) < min(o.sent_s for o in held_out.observations)


def test_parts_are_taken_in_turn(tmp_path):
    path = tmp_path / "report.jsonl"
    write_report([Observation(o.sent_s, o.prompt_tokens, o.token_s, i // 5) for i, o in enumerate(SEEN)], path)
    fitted, held_out = read_report(path).split(0.5)
    assert {o.part for o in fitted.observations} == {1, 3}
    assert {o.part for o in held_out.observations} == {0, 2, 4}
    everything, nothing = read_report(path).split(1.0)
    assert (len(everything.observations), len(nothing.observations)) == (25, 0)


def test_what_vllm_bench_serve_saves_is_read(tmp_path):
    path = tmp_path / "vllm.json"
    content = {
        "start_times": [o.sent_s for o in SEEN] + [99.0, 100.0],
        "input_lens": [o.prompt_tokens for o in SEEN] + [5, 5],
        "output_lens": [3] * 25 + [0, 4],
        "ttfts": [0.5] * 25 + [0.0, 0.5],
        "itls": [[0.1, 0.2]] * 25 + [[], [0.1]],
    }
    path.write_text(json.dumps(content))
    report = read_report(path)
    assert report.unusable == 2
    for got, expected in zip(report.observations, SEEN, strict=True):
        assert got.token_s == pytest.approx(expected.token_s)
    assert report.observations[0].ttft_s == pytest.approx(0.5)
    assert report.observations[0].itl_s == pytest.approx([0.1, 0.2])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("not json", "neither JSON lines"),
        ('{"a": 1}', "no times of single tokens"),
        ('{"itls": []}', "lacks start_times"),
        ('{"sent_s": 1, "prompt_tokens": 3, "token_s": [2]}\n{"sent_s": 1, "prompt_tokens": "x"}', "line 2"),
        ('{"sent_s": 5, "prompt_tokens": 3, "token_s": [2]}', "line 1: token_s must rise"),
        ('{"sent_s": 1, "prompt_tokens": 0, "token_s": [2]}', "prompt_tokens is 0"),
        ('{"sent_s": 1, "prompt_tokens": 3, "token_s": []}', "token_s is empty"),
        ('{"sent_s": 1, "prompt_tokens": 3, "token_s": [2]}', "1 usable requests"),
    ],
)  # fmt: skip
def test_broken_reports_are_refused(tmp_path, text, says):
    path = tmp_path / "broken"
    path.write_text(text)
    with pytest.raises(ReportError, match=says):
        read_report(path)


def test_a_missing_report_is_named(tmp_path):
    with pytest.raises(ReportError, match="cannot read the report"):
        read_report(tmp_path / "none")
