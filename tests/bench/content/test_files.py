"""Prompts of files in every form, and of a hub that is really there: a server on this machine with real Parquet."""

import contextlib
import gzip
import http.server
import json
import threading
from collections import Counter
from itertools import islice

import pyarrow
import pyarrow.parquet
import pytest

from fairlead.bench.config import DatasetContent, FileContent, Tokenizer
from fairlead.bench.content import rows
from fairlead.bench.content.sessions import sessions
from fairlead.bench.content.tokens import tokens_of
from fairlead.workload import Fixed

ROWS = [{"prompt": f"question {at}", "answer": "word " * at, "n": at} for at in range(1, 6)]
SHARE = [
    {
        "id": str(at),
        "conversations": [
            {"from": "system", "value": "Be short."},
            {"from": "human", "value": f"hello {at}"},
            {"from": "gpt", "value": "one two three four"},
            {"from": "human", "value": "and?"},
            {"from": "gpt", "value": "no"},
        ],
    }
    for at in range(4)
]


def read(path, count=None, **options):
    content = FileContent(path=str(path), repeat=False, **options)
    return list(islice(sessions(content, tokens_of(Tokenizer()), 0), count))


def write(tmp_path, form):
    path = tmp_path / f"prompts.{form}"
    if form == "jsonl":
        path.write_text("\n".join(map(json.dumps, ROWS)) + "\n\n")
    elif form == "jsonl.gz":
        path.write_bytes(gzip.compress("\n".join(map(json.dumps, ROWS)).encode()))
    elif form == "json":
        path.write_text(json.dumps(ROWS, indent=2))
    elif form == "csv":
        path.write_text("prompt,answer,n\n" + "".join(f'"{r["prompt"]}",{r["answer"]},{r["n"]}\n' for r in ROWS))
    else:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(ROWS), path)
    return path


@pytest.mark.parametrize("form", ["jsonl", "jsonl.gz", "json", "csv", "parquet"])
def test_every_form_has_the_same_prompts(tmp_path, form):
    path = write(tmp_path, form)
    read_rows = read(path, output_column="n")
    assert [s.turns[0].text for s in read_rows] == [row["prompt"] for row in ROWS]
    assert [s.turns[0].output_tokens for s in read_rows] == [1, 2, 3, 4, 5]
    assert [s.turns[0].output_tokens for s in read(path, output_column="answer")] == [1, 2, 4, 5, 6]
    assert [s.turns[0].output_tokens for s in read(path, output_tokens=Fixed(7))] == [7] * 5
    assert {s.turns[0].output_tokens for s in read(path)} == {None}


@pytest.mark.parametrize("lines", [False, True])
def test_conversations_of_sharegpt_in_pieces_smaller_than_one(tmp_path, lines, monkeypatch):
    monkeypatch.setattr(rows, "_PIECE", 7)
    path = tmp_path / ("share.jsonl" if lines else "share.json")
    path.write_text("\n".join(map(json.dumps, SHARE)) if lines else json.dumps(SHARE, indent=1))
    talks = read(path)
    assert [[turn.text for turn in s.turns] for s in talks] == [[f"hello {at}", "and?"] for at in range(4)]
    assert {s.shared for s in talks} == {"Be short.\n\n"}
    (first, second) = talks[0].turns
    assert (first.output_tokens, second.output_tokens) == (4, 1)  # 18 and 2 characters
    assert second.prompt_tokens == first.prompt_tokens + 4 + 1


def test_messages_of_openai_and_usual_columns(tmp_path):
    path = tmp_path / "m.jsonl"
    parts = [{"type": "text", "text": "look"}]
    messages = [{"role": "user", "content": parts}, {"role": "assistant", "content": "I see"}]
    path.write_text(json.dumps({"messages": messages}) + "\n" + json.dumps({"question": "why"}) + '\n"bare"\n')
    assert [s.turns[0].text for s in read(path)] == ["look", "why", "bare"]


def test_tokens_are_counted_by_the_tokenizer(tmp_path, tokenizer_folders):
    tokens = tokens_of(Tokenizer(source=str(tokenizer_folders["word_piece"])), "completions")
    path = write(tmp_path, "jsonl")
    for session in islice(sessions(FileContent(path=str(path)), tokens, 0), 5):
        assert session.turns[0].prompt_tokens == tokens.count(session.turns[0].text) + 2


def test_shuffled_rounds_have_each_row_once_and_adapters_their_shares(tmp_path):
    content = FileContent(path=str(write(tmp_path, "csv")), order="shuffled", adapter_weights={"a": 1, "b": 1})
    drawn = list(islice(sessions(content, tokens_of(Tokenizer()), 3), 50))
    orders = [tuple(s.turns[0].text for s in drawn[at : at + 5]) for at in range(0, 50, 5)]
    assert all(sorted(order) == sorted(orders[0]) for order in orders) and len(set(orders)) > 3
    assert abs(Counter(s.adapter for s in drawn)["a"] - 25) <= 2
    assert drawn == list(islice(sessions(content, tokens_of(Tokenizer()), 3), 50))


@pytest.mark.parametrize(
    ("name", "text", "options", "said"),
    [
        ("a.txt", "x", {}, "its name does not say what it is; set content.form"),
        ("a.jsonl", "", {}, "has no prompts in it"),
        ("a.jsonl", '{"prompt": "x"}\n{"prompt"', {}, ":2: the line is no JSON"),
        ("a.jsonl", "5\n", {}, "row 1: it is int, expected an object"),
        ("a.jsonl", '{"prompt": 5}\n', {}, "row 1: prompt is 5, expected a text, or a list of messages"),
        ("a.jsonl", '{"q": "x"}\n', {}, "there is no column 'prompt', only q: set content.prompt_column"),
        ("a.jsonl", '{"prompt": "x"}\n', {"output_column": "y"}, "no column 'y', only prompt: correct content.output_"),
        ("a.jsonl", '{"prompt": "x", "y": 0}\n', {"output_column": "y"}, "y is 0, expected a text, or a number of tok"),
        ("a.json", '[{"prompt": "x"}, {"pro', {}, "row 2: the array breaks off"),
        ("a.json", '[{"messages": [5]}]', {}, "a message is 5, expected an object with from and value"),
        ("a.csv", "prompt,b\nx,1\ny\n", {}, ":3: the row has not as many columns as the header, 2"),
        ("a.parquet", "PAR1", {}, "is no Parquet file"),
        ("a.jsonl.gz", "x", {}, "a.jsonl.gz"),
    ],
)  # fmt: skip
def test_a_broken_file_is_named_by_place_and_remedy(tmp_path, name, text, options, said):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ValueError, match=r"content\.path") as raised:
        read(path, **options)
    assert said in str(raised.value)


@contextlib.contextmanager
def hub_with(folder):
    class Hub(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_a_dataset_of_the_hub_is_read_once_and_kept(tmp_path, monkeypatch):
    folder = tmp_path / "hub"
    listing = folder / "api/datasets/org/talk/parquet"
    listing.parent.mkdir(parents=True)
    for part in range(2):
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist([{"prompt": f"{part} hi"}]), folder / f"{part}.parquet")
    content = DatasetContent(name="org/talk", split="train", output_tokens=Fixed(3))
    with hub_with(folder) as address:
        monkeypatch.setenv("HF_ENDPOINT", address)
        listing.write_text(json.dumps({"default": {"train": [f"{address}/{part}.parquet" for part in range(2)]}}))
        drawn = list(islice(sessions(content, tokens_of(Tokenizer()), 0), 4))
        assert [s.turns[0].text for s in drawn] == ["0 hi", "1 hi"] * 2
        (folder / "0.parquet").unlink()
        assert next(sessions(content, tokens_of(Tokenizer()), 0)).turns[0].text == "0 hi"
        with pytest.raises(ValueError, match=r"content\.split is 'test': org/talk \(default\) has train"):
            next(sessions(DatasetContent(name="org/talk", split="test"), tokens_of(Tokenizer()), 0))
        with pytest.raises(ValueError, match=r"content\.name is 'org/none'.* answered 404: check the name"):
            next(sessions(DatasetContent(name="org/none"), tokens_of(Tokenizer()), 0))
    with pytest.raises(ValueError, match="the hub cannot be reached at"):
        next(sessions(content, tokens_of(Tokenizer()), 0))
