"""Trace files of every format: what they mean, what is said of a broken line, what survives a round trip."""

import gzip
import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.workload import Slo, TraceError, TraceFile, TraceRequest, write_trace

AZURE_2023 = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:15:46.6805900,374,44
2023-11-16 18:15:50.9951690,396,109
"""
AZURE_2024 = """TIMESTAMP,ContextTokens,GeneratedTokens
2024-05-10 00:00:00.009930+00:00,2162,5
2024-05-10 02:00:01.509930+02:00,12,3
"""
AZURE_MULTIMODAL = """TIMESTAMP,NumImages,ContextTokens,GeneratedTokens
2024-10-15 13:05:55.0000000,2,1940,16
2024-10-15 13:05:56.0000000,0,10,0
2024-10-15 13:05:57.0000000,0,10,7
"""
BURSTGPT_1 = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
45,ChatGPT,0,0,0,Conversation log
118,GPT-4,417,276,693,API log
"""
BURSTGPT_2 = """Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type
5.0,33,1.5,ChatGPT,472.0,18.0,490.0,Conversation log
7.5,nan,2.5,GPT-4,10,2,12,API log
"""
MOONCAKE = """{"timestamp": 0, "input_length": 600, "output_length": 5, "hash_ids": [0, 1]}
{"timestamp": 1500, "input_length": 1024, "output_length": 7, "hash_ids": [0, 2], "type": "chat"}
"""


def file(tmp_path, text, name="trace"):
    path = tmp_path / name
    path.write_text(text)
    return path


def read(tmp_path, text, **options):
    trace = TraceFile(file(tmp_path, text), **options)
    return trace, [(round(r.time_s, 6), r.prompt_tokens, r.output_tokens) for r in trace]


def test_azure_counts_from_its_first_request(tmp_path):
    trace, requests = read(tmp_path, AZURE_2023)
    assert trace.format.name == "azure"
    assert requests == [(0.0, 374, 44), (4.314579, 396, 109)]


def test_azure_with_time_zones(tmp_path):
    assert read(tmp_path, AZURE_2024)[1] == [(0.0, 2162, 5), (1.5, 12, 3)]


def test_azure_with_images_and_an_unanswered_request(tmp_path):
    trace, requests = read(tmp_path, AZURE_MULTIMODAL)
    assert requests == [(0.0, 1940, 16), (2.0, 10, 7)]
    assert trace.counts.unanswered == 1


def test_burstgpt_leaves_out_failures_and_counts_them(tmp_path):
    trace, requests = read(tmp_path, BURSTGPT_1)
    assert trace.format.name == "burstgpt"
    assert requests == [(0.0, 472, 18), (113.0, 417, 276)]
    assert (trace.counts.requests, trace.counts.unanswered) == (2, 1)


def test_burstgpt_with_sessions(tmp_path):
    requests = list(TraceFile(file(tmp_path, BURSTGPT_2)))
    assert [(r.time_s, r.model, r.session) for r in requests] == [(0.0, "ChatGPT", "33"), (2.5, "GPT-4", "")]


def test_mooncake_is_in_milliseconds_and_names_blocks_of_512(tmp_path):
    requests = list(TraceFile(file(tmp_path, MOONCAKE)))
    assert [(r.time_s, r.prompt_tokens, r.hash_ids, r.block_tokens) for r in requests] == [
        (0.0, 600, (0, 1), 512),
        (1.5, 1024, (0, 2), 512),
    ]


def test_bailian_is_in_seconds_and_names_blocks_of_16(tmp_path):
    fields = {"timestamp": 61.5, "input_length": 40, "output_length": 9, "hash_ids": [7, 8, 9]}
    line = json.dumps({"chat_id": 159, "parent_chat_id": 55, **fields})
    trace = TraceFile(file(tmp_path, line + "\n" + line.replace("61.5", "62")))
    assert [(r.time_s, r.prompt_tokens, r.hash_ids, r.block_tokens) for r in trace] == [
        (0.0, 40, (7, 8, 9), 16),
        (0.5, 40, (7, 8, 9), 16),
    ]
    assert trace.format.name == "bailian"


def test_more_ids_than_blocks_are_blocks_of_another_size(tmp_path):
    path = file(tmp_path, '{"timestamp": 0, "input_length": 600, "output_length": 5, "hash_ids": [0, 1, 2]}\n')
    with pytest.raises(
        TraceError, match=r"hash_ids is '3 ids', expected at most 2, one per block of 512.*--block-tokens"
    ):
        list(TraceFile(path))
    assert [r.block_tokens for r in TraceFile(path, block_tokens=256)] == [256]


@pytest.mark.parametrize("text", [AZURE_2023, BURSTGPT_1, MOONCAKE])
def test_compressed_files_with_byte_order_mark_and_other_line_ends_read_the_same(tmp_path, text):
    path = tmp_path / "trace.gz"
    path.write_bytes(gzip.compress(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode() + b"\r\n"))
    assert list(TraceFile(path)) == list(TraceFile(file(tmp_path, text)))


def test_what_is_compressed_is_told_by_its_content(tmp_path):
    path = tmp_path / "trace.jsonl"
    path.write_bytes(gzip.compress(MOONCAKE.encode()))
    assert list(TraceFile(path)) == list(TraceFile(file(tmp_path, MOONCAKE)))
    path.write_bytes(b"\x28\xb5\x2f\xfd" + bytes(30))
    with pytest.raises(TraceError, match=r"compressed with zstd.*unpack it first"):
        TraceFile(path)


def test_no_ids_may_be_written_as_null(tmp_path):
    line = '{"timestamp": 0, "input_length": 600, "output_length": 5, "hash_ids": null}\n'
    assert [r.hash_ids for r in TraceFile(file(tmp_path, line))] == [()]


BROKEN = [
    (AZURE_2023 + "2023-11-16 18:16:00.1,many,4\n", 4, "ContextTokens is 'many'"),
    (AZURE_2023 + "yesterday,5,4\n", 4, "TIMESTAMP is 'yesterday'"),
    (AZURE_2023 + "2023-11-16 18:16:00.1,5\n", 4, "GeneratedTokens is None"),
    (AZURE_2023 + "2023-11-16 18:16:00.1,-5,3\n", 4, "ContextTokens is '-5'"),
    (AZURE_2023 + "2023-11-16 18:16:00.1,5,nan\n", 4, "GeneratedTokens is 'nan'"),
    (AZURE_2023 + "2023-11-16 18:16:00.1,0,3\n", 4, "ContextTokens is '0'"),
    (BURSTGPT_1 + "\n-3,GPT-4,5,5,10,API log\n", 6, "Timestamp is '-3'"),
    (BURSTGPT_1 + "1e999,GPT-4,5,5,10,API log\n", 5, "Timestamp is '1e999'"),
    (MOONCAKE + '{"timestamp": 2000, "input_length": "5", "output_length": 5}\n', 3, "input_length is '5'"),
    (MOONCAKE + '{"timestamp": 2000, "input_length": 0, "output_length": 5}\n', 3, "input_length is 0"),
    (MOONCAKE + '{"timestamp": 2000, "input_length": 5}\n', 3, "output_length is None"),
    (MOONCAKE + '{"timestamp": 2000, "input_le\n', 3, "line is "),
    (MOONCAKE + "[" * 100_000 + "\n", 3, "line is "),
    (MOONCAKE + "\x00\x01\n", 3, "line is "),
]


@pytest.mark.parametrize(("text", "line", "said"), BROKEN)
def test_a_broken_line_is_named_by_file_line_field_and_value(tmp_path, text, line, said):
    path = file(tmp_path, text, "some.trace")
    with pytest.raises(TraceError) as raised:
        list(TraceFile(path))
    message = str(raised.value)
    assert message.startswith(f"{path}:{line}: {said}")
    assert "--skip-broken" in message
    assert len(message) < 400 + len(str(path))


@pytest.mark.parametrize(("text", "line", "said"), BROKEN)
def test_broken_lines_are_left_out_and_counted_when_asked(tmp_path, text, line, said):
    path = file(tmp_path, text)
    trace = TraceFile(path, skip_broken=True)
    assert len(list(trace)) == trace.counts.requests == 2
    assert trace.counts.broken == 1
    assert trace.counts.first_broken.startswith(f"{path}:{line}: {said}")


def test_a_request_before_the_one_above_it_is_an_error_unless_sorted(tmp_path):
    path = file(tmp_path, MOONCAKE + MOONCAKE)
    with pytest.raises(TraceError, match=r":3: the request arrives 1.5 s before.*--sort"):
        list(TraceFile(path))
    assert [r.time_s for r in TraceFile(path, sort=True)] == [0.0, 0.0, 1.5, 1.5]
    late_first = file(tmp_path, BURSTGPT_1.replace("5,ChatGPT,472", "500,ChatGPT,472"), "late")
    assert [r.time_s for r in TraceFile(late_first, sort=True)] == [0.0, 382.0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "empty"),
        ("\n \n", "empty"),
        ("a,b\n1,2\n", "cannot be told from its first line 'a,b'"),
        ("%PDF-1.4\n", "cannot be told"),
    ],
)
def test_what_is_no_trace_is_said_at_once(tmp_path, text, said):
    with pytest.raises(TraceError, match=said):
        TraceFile(file(tmp_path, text))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(TraceError, match="No such file"):
        TraceFile(tmp_path / "none")
    with pytest.raises(TraceError, match="directory"):
        TraceFile(tmp_path)
    (tmp_path / "half.gz").write_bytes(gzip.compress(AZURE_2023.encode() * 50)[:60])
    with pytest.raises(TraceError, match=r"half\.gz"):
        list(TraceFile(tmp_path / "half.gz"))
    with pytest.raises(TraceError, match="unknown trace format 'csv'; known are azure"):
        TraceFile(file(tmp_path, AZURE_2023), format_name="csv")
    with pytest.raises(TraceError, match="not the header of a trace in format azure"):
        list(TraceFile(file(tmp_path, MOONCAKE), format_name="azure"))


def test_the_format_is_told_although_the_first_line_is_broken(tmp_path):
    trace, requests = read(tmp_path, "{]\n" + MOONCAKE, skip_broken=True)
    assert (len(requests), trace.counts.broken) == (2, 1)


def test_unknown_fields_of_our_own_format_are_typing_errors(tmp_path):
    line = '{"time_s": 0, "prompt_tokens": 5, "output_tokens": 5, "adaptor": "x"}\n'
    with pytest.raises(TraceError, match="adaptor is 'given', expected one of: time_s, prompt_tokens"):
        list(TraceFile(file(tmp_path, line)))


texts = st.text(max_size=8)
objectives = st.none() | st.floats(0, 1e6)


def named(request):
    """As many ids as prompt and answer have blocks, at most."""
    request.hash_ids = request.hash_ids[: -(-(request.prompt_tokens + request.output_tokens) // request.block_tokens)]
    return request


requests = st.builds(
    TraceRequest,
    st.floats(0, 1e9),
    st.integers(1, 10**6),
    st.integers(1, 10**6),
    model=texts,
    adapter=texts,
    session=texts,
    tenant=texts,
    priority=st.integers(-5, 5),
    hash_ids=st.lists(st.integers(-(2**63), 2**63 - 1), max_size=5).map(tuple),
    block_tokens=st.integers(1, 4096),
    slo=st.none() | st.builds(Slo, objectives, objectives, objectives),
).map(named)


@settings(deadline=None)
@given(st.lists(requests, max_size=20))
def test_our_own_format_survives_a_round_trip_exactly(tmp_path_factory, given_requests):
    path = tmp_path_factory.mktemp("own") / "trace.jsonl"
    given_requests.sort(key=lambda r: r.time_s)
    assert write_trace(path, given_requests) == len(given_requests)
    if given_requests:
        assert list(TraceFile(path)) == given_requests


@settings(deadline=None, max_examples=60)
@given(st.sampled_from([AZURE_2023, BURSTGPT_2, MOONCAKE]), st.randoms(use_true_random=False))
def test_damaged_files_are_errors_or_requests_and_nothing_else(tmp_path_factory, text, rng: random.Random):
    content = bytearray(text.encode())
    for _ in range(rng.randint(1, 6)):
        content[rng.randrange(len(content))] = rng.randrange(256)
    path = tmp_path_factory.mktemp("damaged") / "trace"
    path.write_bytes(content)
    try:
        for request in TraceFile(path, skip_broken=rng.random() < 0.5):
            assert request.prompt_tokens >= 1
            assert request.output_tokens >= 1
            assert 0 <= request.time_s < 1e12
    except TraceError as error:
        assert str(path) in str(error)


def test_a_damaged_archive_is_named(tmp_path):
    data = bytearray(gzip.compress(AZURE_2023.encode() * 500, mtime=0))
    for at in range(12, 60):
        data[at] ^= 0xFF
    (tmp_path / "damaged.gz").write_bytes(data)
    with pytest.raises(TraceError, match=r"damaged\.gz"):
        list(TraceFile(tmp_path / "damaged.gz", format_name="azure"))


def test_blank_lines_before_the_header_are_passed_over(tmp_path):
    (tmp_path / "trace.csv").write_text("\n\n" + AZURE_2023)
    assert TraceFile(tmp_path / "trace.csv").format.name == "azure"


@pytest.mark.parametrize(
    "text",
    [
        AZURE_2023.replace("TIMESTAMP,ContextTokens,GeneratedTokens", "timestamp, context_tokens ,generatedTokens"),
        AZURE_2023.replace("2023-11-16 18:15:46.6805900", "100.5").replace("2023-11-16 18:15:50.9951690", "104.814579"),
    ],
)
def test_columns_of_azure_in_another_case_and_times_in_seconds(tmp_path, text):
    trace, requests = read(tmp_path, text)
    assert trace.format.name == "azure"
    assert requests == [(0.0, 374, 44), (4.314579, 396, 109)]


def test_burstgpt_without_a_model(tmp_path):
    trace, requests = read(tmp_path, "Timestamp,Request tokens,Response tokens\n5,472,18\n118,417,276\n")
    assert trace.format.name == "burstgpt" and requests == [(0.0, 472, 18), (113.0, 417, 276)]
