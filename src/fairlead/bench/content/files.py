"""Prompts of files and of datasets of the Hugging Face hub, as sessions. Rows are streamed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import msgspec

from fairlead.bench.config.content import DatasetContent, FileContent
from fairlead.bench.content import hub
from fairlead.bench.content.rows import BadRow, Row, file_rows
from fairlead.bench.content.shares import AdapterTurns
from fairlead.bench.content.tokens import Tokens
from fairlead.bench.paths import user_path
from fairlead.bench.session import Session, Turn
from fairlead.workload import Lengths

_SHUFFLED = 16_384
"""Rows that are mixed with each other; more are mixed as they come through such a window."""
_USUAL_COLUMNS = ("prompt", "text", "question", "instruction", "input", "messages", "conversations")
_USER = {"human", "user"}
_MODEL = {"gpt", "assistant", "model", "chatgpt", "bing", "bard"}


class _Reader:
    """Makes sessions of rows."""

    def __init__(
        self, prompt_column: str, output_column: str | None, output_tokens: Lengths | None,
        adapter_weights: dict[str, float], tokens: Tokens, seed: int,
    ) -> None:  # fmt: skip
        self._prompt, self._output, self._lengths, self._tokens = prompt_column, output_column, output_tokens, tokens
        self._rng = random.Random(f"{seed}/lengths")
        self._adapters = AdapterTurns(adapter_weights, random.Random(f"{seed}/adapters"))

    def session(self, row: Row) -> Session | None:
        """None: nobody asks anything in it. Raises BadRow."""
        prompt = self._prompt_of(row)
        if isinstance(prompt, str):
            session = self._single(prompt, row) if prompt else None
        else:
            session = self._conversation(prompt)
        if session is not None:
            session.adapter = self._adapters.next()
        return session

    def _prompt_of(self, row: Row) -> Any:
        """A text, or the messages of a conversation. The usual names are tried where none was given."""
        column = self._prompt
        if column not in row and column == "prompt":
            column = next((name for name in _USUAL_COLUMNS if name in row), column)
        if column not in row:
            raise BadRow(f"there is no column {column!r}, only {', '.join(row) or 'none'}: set content.prompt_column")
        value = row[column]
        if not isinstance(value, str | list):
            raise BadRow(f"{column} is {_short(value)}, expected a text, or a list of messages")
        return value

    def _single(self, prompt: str, row: Row) -> Session:
        output: int | None = None
        if self._lengths is not None:
            output = self._lengths.draw(self._rng)
        elif self._output is not None:
            output = self._length(row)
        return Session([Turn(prompt, self._tokens.count(prompt) + self._tokens.added, output)])

    def _length(self, row: Row) -> int:
        """Of the answer in a column: a text, or a number of tokens."""
        column = self._output
        assert column is not None
        if column not in row:
            raise BadRow(f"there is no column {column!r}, only {', '.join(row)}: correct content.output_column")
        value = row[column]
        if isinstance(value, str) and not value.strip().isdecimal():
            return max(1, self._tokens.count(value))
        try:
            number = int(value)
        except (TypeError, ValueError, OverflowError):
            number = 0
        if number < 1:
            raise BadRow(f"{column} is {_short(value)}, expected a text, or a number of tokens, 1 or more")
        return number

    def _conversation(self, messages: list[Any]) -> Session | None:
        """What users say is sent, what models said gives the length of their answers, systems stand in front."""
        turns: list[Turn] = []
        shared = ""
        said = self._tokens.added
        for message in messages:
            role, text = _message(message)
            if role in _USER and text:
                said += self._tokens.count(text)
                output = self._lengths.draw(self._rng) if self._lengths is not None else None
                turns.append(Turn(text, said, output))
                said += output or 0
            elif role in _MODEL and turns and turns[-1].output_tokens is None:
                turns[-1].output_tokens = max(1, self._tokens.count(text))
                said += turns[-1].output_tokens
            elif role == "system" and not turns:
                shared += text + "\n\n"
                said += self._tokens.count(text + "\n\n")
        return Session(turns, shared=shared) if turns else None


def _message(message: Any) -> tuple[str, str]:
    """Role and text, in ShareGPT's form or OpenAI's."""
    if not isinstance(message, dict):
        raise BadRow(f"a message is {_short(message)}, expected an object with from and value, or role and content")
    role, text = message.get("from", message.get("role")), message.get("value", message.get("content"))
    if isinstance(text, list):  # OpenAI's parts
        text = "".join(part.get("text", "") for part in text if isinstance(part, dict))
    if not isinstance(role, str) or not isinstance(text, str | None):
        raise BadRow(f"a message is {_short(message)}, expected texts under from and value, or role and content")
    return role.lower(), text or ""


def _short(value: object) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:77] + "..."


def file_sessions(content: FileContent, tokens: Tokens, seed: int) -> Iterator[Session]:
    """Of a file, again and again where `repeat` says so. Raises ValueError that names file, row, column and remedy."""
    path = user_path(content.path)
    reader = _Reader(
        content.prompt_column, content.output_column, content.output_tokens, content.adapter_weights, tokens, seed
    )
    round_number = 0
    while True:
        some = False
        rows: Iterator[tuple[int, Row]] = file_rows(path, content.form)
        if content.order == "shuffled":
            rows = _shuffled(rows, random.Random(f"{seed}/order/{round_number}"))
        for number, row in rows:
            try:
                session = reader.session(row)
            except BadRow as error:
                raise ValueError(f"content.path: {path}, row {number}: {error}") from None
            if session is not None:
                some = True
                yield session
        if not some:
            raise ValueError(f"content.path: {path} has no prompts in it")
        if not content.repeat:
            return
        round_number += 1


def _shuffled(rows: Iterator[tuple[int, Row]], rng: random.Random) -> Iterator[tuple[int, Row]]:
    window: list[tuple[int, Row]] = []
    for row in rows:
        if len(window) < _SHUFFLED:
            window.append(row)
            continue
        at = rng.randrange(_SHUFFLED)
        yield window[at]
        window[at] = row
    rng.shuffle(window)
    yield from window


def dataset_sessions(content: DatasetContent, tokens: Tokens, seed: int) -> Iterator[Session]:
    """Of a dataset's parquet files, fetched one after the other and kept; again and again. `sample` takes that share of
    its rows. Raises ValueError where the hub cannot be reached, or has no such dataset."""
    try:
        addresses = _parquet_files(content)
    except hub.HubError as error:
        raise ValueError(f"content.name is {content.name!r}: {error}") from None
    reader = _Reader(content.prompt_column, None, content.output_tokens, content.adapter_weights, tokens, seed)
    chosen = random.Random(f"{seed}/sample")
    while True:
        some = False
        for number, address in enumerate(addresses):
            folder = hub.cache_folder() / "datasets" / content.name / content.revision / (content.subset or "default")
            try:
                path = hub.download(address, folder / f"{content.split}-{number}.parquet")
            except hub.HubError as error:
                raise ValueError(f"content.name is {content.name!r}: {error}") from None
            for row_number, row in file_rows(path, "parquet"):
                if content.sample < 1 and chosen.random() >= content.sample:
                    continue
                try:
                    session = reader.session(row)
                except BadRow as error:
                    raise ValueError(f"content.name: {content.name}, row {row_number}: {error}") from None
                if session is not None:
                    some = True
                    yield session
        if not some:
            raise ValueError(f"content.name: {content.name} has no prompts in {content.split}")


def _parquet_files(content: DatasetContent) -> list[str]:
    """Addresses, as the hub lists them: subset -> split -> files."""
    if content.revision != "main":
        raise ValueError(
            f"content.revision is {content.revision!r}: the hub has parquet files of main alone; leave it out"
        )
    url = f"{hub.endpoint()}/api/datasets/{quote(content.name)}/parquet"
    try:
        listed = msgspec.json.decode(hub.read(url), type=dict[str, dict[str, list[str]]])
    except msgspec.DecodeError as error:
        raise hub.HubError(f"{url} is no list of parquet files: {error}") from None
    if not listed:
        raise hub.HubError(f"{url} lists no parquet files")
    subset = content.subset or ("default" if "default" in listed else next(iter(listed)))
    if subset not in listed:
        raise ValueError(f"content.subset is {subset!r}: {content.name} has {', '.join(listed)}")
    splits = listed[subset]
    if content.split not in splits:
        raise ValueError(f"content.split is {content.split!r}: {content.name} ({subset}) has {', '.join(splits)}")
    return splits[content.split]
