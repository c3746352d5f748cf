"""A model's own tokenizer (`--tokenizer DIR`): its `tokenizer.json`, and the chat template beside it."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from fairlead.simulator.server.bodies.chat import ChatTemplate, PlainTemplate


class TokenizerError(ValueError):
    """A folder without a usable tokenizer; the message names file and reason."""


class FileTokenizer:
    """The tokenizer of a model folder."""

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        path = folder / "tokenizer.json"
        if not path.is_file():
            raise TokenizerError(f"{path} does not exist: give the folder of a model with a tokenizer.json")
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises plain Exception
            raise TokenizerError(f"{path} is not a tokenizer: {error}") from error
        self._config = _config(folder / "tokenizer_config.json")
        # Models may have room for more ids than their tokenizer has.
        size = _config(folder / "config.json").get("vocab_size")
        self.vocabulary: int | None = size if isinstance(size, int) else self._tokenizer.get_vocab_size()
        self.max_chars = max(map(len, self._tokenizer.get_vocab()), default=1)
        eos = self._config.get("eos_token")
        name = eos.get("content") if isinstance(eos, dict) else eos
        known = self._tokenizer.token_to_id(name) if isinstance(name, str) else None
        self.eos: int = self.vocabulary - 1 if known is None and self.vocabulary else known or 0

    def encode(self, text: str, *, add_special_tokens: bool = False) -> list[int]:
        ids: list[int] = self._tokenizer.encode(text, add_special_tokens=add_special_tokens).ids
        return ids

    def decode(self, ids: Sequence[int]) -> str:
        size = self.vocabulary or 0
        text: str = self._tokenizer.decode([each for each in ids if each < size], skip_special_tokens=True)
        return text

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Differences of growing texts, as a token's text may depend on the one before it."""
        pieces = []
        for index in range(len(ids)):
            begin = max(0, index - _CONTEXT_TOKENS)
            whole, start = self.decode(ids[begin : index + 1]), self.decode(ids[begin:index])
            pieces.append(whole[len(start) :] if whole.startswith(start) else whole)
        return pieces

    def words(self) -> list[tuple[int, str]]:
        """Tokens that are one word with a space before it, and stay one token whatever word precedes: for answers."""
        words = []
        for piece, token in sorted(self._tokenizer.get_vocab().items(), key=lambda entry: entry[1]):
            word = piece[1:]
            if piece[:1] in ("Ġ", "▁", " ") and len(word) > 1 and word.isascii() and word.isalpha() and word.islower():
                words.append((token, f" {word}"))
            if len(words) == _MOST_WORDS:
                break
        chosen = [each for each in words if self.encode(f" a{each[1]}{each[1]}")[-2:] == [each[0], each[0]]]
        return chosen or [(token, text) for token, text in self._any_tokens() if text]

    def chat_template(self) -> ChatTemplate:
        """The model's own where there is one and jinja2 is installed, else a plain one."""
        source = self._config.get("chat_template")
        if isinstance(source, str):
            try:
                return _JinjaTemplate(source, self._config)
            except ModuleNotFoundError:
                return PlainTemplate()
        return PlainTemplate()

    def _any_tokens(self) -> list[tuple[int, str]]:
        return [(token, self.decode([token])) for token in range(min(self.vocabulary or 0, _MOST_WORDS))]


_MOST_WORDS = 512
_CONTEXT_TOKENS = 4


class _JinjaTemplate:
    """A chat template in Jinja, in the sandbox that such templates are meant for."""

    def __init__(self, source: str, config: dict[str, Any]) -> None:
        # Not among the dependencies: whoever wants models' own templates installs it.
        sandbox = importlib.import_module("jinja2.sandbox")
        environment = sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        self._template = environment.from_string(source)
        self._tokens = {name: _content(config.get(name)) for name in ("bos_token", "eos_token")}

    def render(
        self, messages: Sequence[dict[str, Any]], tools: Sequence[Any] | None, *, add_generation_prompt: bool = True
    ) -> str:
        return str(
            self._template.render(
                messages=messages, tools=tools, add_generation_prompt=add_generation_prompt, **self._tokens
            )
        )


def _content(token: Any) -> str:
    return str(token.get("content", "")) if isinstance(token, dict) else token if isinstance(token, str) else ""


def _config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        content = msgspec.json.decode(path.read_bytes())
    except msgspec.DecodeError as error:
        raise TokenizerError(f"{path} is not JSON: {error}") from error
    return content if isinstance(content, dict) else {}
