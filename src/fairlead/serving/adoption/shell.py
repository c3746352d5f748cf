"""The commands of a shell script as words, with the variables that are known filled in. Pure.

A subset of POSIX sh and bash that scripts which start servers need: quotes, escapes, comments, operators, redirections,
assignments, `$NAME`, `${NAME}`, `${NAME:-default}` and its kin, positional parameters, keywords. Nothing is run: what
only a run would tell (`$(…)`, arithmetic, variables that nobody here has set) stays in the word as a mark: `unknown`.

Protocol: POSIX.1-2024, Shell Command Language, sections 2.2 (quoting), 2.3, 2.5 (parameters) and 2.6 (expansions).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

_MARK: Final = "\x00"
_BLANK_IN_MARK: Final = "\x01"
"""Arguments cannot hold the first, so what is between two of them is no text of anybody's."""
_MARKED: Final = re.compile(f"{_MARK}([^{_MARK}]*){_MARK}")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BRACED: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(?:(:?[-=?+])(.*))?", re.DOTALL)
_ASSIGNMENT: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)(\+?)=")
_DIGITS: Final = re.compile(r"[0-9]+")
_IFS: Final = re.compile(r"[ \t\n]+")
_KEYWORDS: Final = frozenset(
    ("if", "then", "else", "elif", "fi", "while", "until", "do", "done", "{", "}", "!", "time")
)
_DECLARING: Final = frozenset(("export", "readonly", "declare", "typeset", "local"))
_BLANKS: Final = " \t"
_OPERATORS: Final = "\n;&|()"


def mark(what: str) -> str:
    """A part of a word that cannot be known here; `what` says it in the script's words."""
    return f"{_MARK}{_IFS.sub(_BLANK_IN_MARK, what.replace(_MARK, ''))}{_MARK}"


def unknown(word: str) -> tuple[str, ...]:
    """The parts of a word that are not known, as the script names them; empty where it is text alone."""
    return tuple(part.replace(_BLANK_IN_MARK, " ") for part in _MARKED.findall(word))


def shown(word: str) -> str:
    """A word for people: with what is not known as the script has it."""
    return _MARKED.sub(lambda found: found[1].replace(_BLANK_IN_MARK, " "), word)


@dataclass(frozen=True, slots=True)
class Command:
    """One simple command: its words, and the variables that it sees."""

    words: tuple[str, ...]
    env: Mapping[str, str]


class ScriptError(ValueError):
    """The script ends in the middle of something, or has a part that this reader does not know."""


def read_script(
    script: str, env: Mapping[str, str], parameters: Sequence[str] = (), *, env_is_whole: bool = True
) -> list[Command]:
    """The simple commands of a script in order. `parameters` are `$0`, `$1`, …; with `env_is_whole` a default counts
    where its variable is not in `env`. Raises ScriptError."""
    return list(_Reader(script, env, parameters, env_is_whole).commands())


class _Reader:
    def __init__(self, script: str, env: Mapping[str, str], parameters: Sequence[str], env_is_whole: bool) -> None:
        self._text = script
        self._at = 0
        self._env = dict(env)
        self._parameters = parameters
        self._env_is_whole = env_is_whole
        self._divides = True
        """Whether blanks in what a variable holds divide words."""
        self._begin()

    def _begin(self) -> None:
        """A new command."""
        self._words: list[str] = []
        self._own: dict[str, str] = {}
        self._word: list[str] | None = None
        self._lead = ""
        """What the word begins with as it was written, without quotes and dollars."""
        self._is_lead = True
        self._has_begun = False
        """Whether a word has: one that becomes nothing too, so that a `#` after it begins no comment."""
        self._may_assign = True

    def commands(self) -> Iterator[Command]:
        while self._at < len(self._text):
            c = self._text[self._at]
            if c in _OPERATORS:
                self._at += 1
                yield from self._end_command()
            elif c in _BLANKS:
                self._at += 1
                self._end_word()
                self._has_begun = False
            elif c == "#" and not self._has_begun:
                end = self._text.find("\n", self._at)
                self._at = len(self._text) if end < 0 else end
            elif c in "<>":
                self._redirection()
            else:
                self._part(c)
        yield from self._end_command()

    def _end_command(self) -> Iterator[Command]:
        self._end_word()
        words, own = self._words, self._own
        self._begin()
        if not words or words[0] in _DECLARING:
            self._env.update(own)
        elif words[0] == "for" and len(words) > 1:
            self._env[words[1]] = mark(f"${words[1]}")
        else:
            yield Command(tuple(words), {**self._env, **own})

    # Words.

    def _add(self, text: str, *, as_written: bool = False) -> None:
        self._word = [*(self._word or ()), text]
        self._is_lead = self._is_lead and as_written
        if self._is_lead:
            self._lead += text

    def _end_word(self) -> None:
        if self._word is None:
            return
        word, found = "".join(self._word), _ASSIGNMENT.match(self._lead)
        is_plain = self._is_lead
        self._word, self._lead, self._is_lead = None, "", True
        if found is not None and self._may_assign:
            value, before = word[found.end() :], self._env.get(found[1], mark(f"${found[1]}"))
            self._own[found[1]] = before + value if found[2] else value
        elif is_plain and not self._words and word in _KEYWORDS:
            return
        else:
            self._words.append(word)
            self._may_assign = self._words[0] in _DECLARING

    def _part(self, c: str) -> None:
        self._has_begun = self._has_begun or not self._text.startswith("\\\n", self._at)
        if c == "'":
            end = self._find("'", self._at + 1)
            self._add(self._text[self._at + 1 : end])
            self._at = end + 1
        elif self._text.startswith('"$@"', self._at) and not self._parameters[1:]:
            self._at += 4  # None at all, not an empty one.
        elif c == '"':
            self._at += 1
            self._double_quoted()
        elif c == "\\":
            following = self._text[self._at + 1 : self._at + 2]
            self._at += 2
            if following != "\n":
                self._add(following or "\\")
        elif c == "`":
            self._add(mark(self._backquoted()))
        elif c == "$":
            self._dollar(quoted=False)
        else:
            self._add(c, as_written=True)
            self._at += 1

    def _double_quoted(self) -> None:
        self._add("")
        while True:
            c = self._text[self._at : self._at + 1]
            if not c:
                raise ScriptError('a " is not closed')
            if c == '"':
                self._at += 1
                return
            if c == "\\":
                following = self._text[self._at + 1 : self._at + 2]
                self._at += 2
                self._add("" if following == "\n" else following if following in '$`"\\' else "\\" + following)
            elif c == "$":
                self._dollar(quoted=True)
            elif c == "`":
                self._add(mark(self._backquoted()))
            else:
                self._add(c)
                self._at += 1

    def _redirection(self) -> None:
        if self._text.startswith("<<", self._at):
            raise ScriptError("it has a here-document, which is not read")
        if self._word is not None and self._is_lead and _DIGITS.fullmatch(self._lead):
            self._word, self._lead = None, ""
        self._end_word()
        while self._text[self._at : self._at + 1] in ("<", ">", "&", "|"):
            self._at += 1
        while self._text[self._at : self._at + 1] in (" ", "\t"):
            self._at += 1
        may_assign, self._may_assign, self._divides = self._may_assign, False, False
        while self._at < len(self._text) and self._text[self._at] not in _BLANKS + _OPERATORS + "<>":
            self._part(self._text[self._at])
        self._may_assign, self._divides = may_assign, True
        self._word, self._lead, self._is_lead, self._has_begun = None, "", True, False

    # What a dollar stands for.

    def _dollar(self, *, quoted: bool) -> None:
        following = self._text[self._at + 1 : self._at + 2]
        name = _NAME.match(self._text, self._at + 1)
        if following == "(":
            end = self._closing("(", ")", self._at + 1)
            inside = self._text[self._at : end + 1]
            self._at = end + 1
            self._expanded(mark(inside), quoted)
        elif following == "{":
            end = self._closing("{", "}", self._at + 1)
            inside = self._text[self._at + 2 : end]
            self._at = end + 1
            self._braced(inside, quoted)
        elif name is not None:
            self._at = name.end()
            self._expanded(self._value(name[0]), quoted)
        elif following in ("'", '"') and not quoted:
            raise ScriptError(f"it has ${following}…{following}, whose escapes are not read")
        elif following and following in "@*0123456789":
            self._at += 2
            self._parameter(following, quoted)
        elif following and following in "?$!#-":
            self._at += 2
            self._expanded(mark("$" + following), quoted)
        else:
            self._add("$")
            self._at += 1

    def _braced(self, inside: str, quoted: bool) -> None:
        found = _BRACED.fullmatch(inside)
        if inside in ("@", "*") or _DIGITS.fullmatch(inside):
            self._parameter(inside, quoted)
        elif found is None:
            self._expanded(mark(f"${{{inside}}}"), quoted)
        else:
            self._expanded(self._with_default(found[1], found[2] or "", found[3] or ""), quoted)

    def _with_default(self, name: str, operator: str, other: str) -> str:
        value = self._env.get(name)
        is_set = value is not None and not (operator.startswith(":") and value == "")
        if not operator or operator.endswith("?") or (is_set and not operator.endswith("+")):
            return self._value(name)
        if value is None and not self._env_is_whole:
            return mark(f"${{{name}{operator}{other}}}")
        if operator.endswith("+"):
            return self._nested(other) if is_set else ""
        default = self._nested(other)
        if operator.endswith("="):
            self._env[name] = default
        return default

    def _nested(self, text: str) -> str:
        """The text of a default, itself expanded, as one word."""
        reader = _Reader(text, self._env, self._parameters, self._env_is_whole)
        reader._divides = False
        while reader._at < len(text):
            c = text[reader._at]
            if c in _BLANKS + _OPERATORS + "<>#":
                reader._add(c)
                reader._at += 1
            else:
                reader._part(c)
        return "".join(reader._word or ())

    def _value(self, name: str) -> str:
        return self._env.get(name, mark(f"${name}"))

    def _parameter(self, which: str, quoted: bool) -> None:
        if which not in ("@", "*"):
            index = int(which)
            self._expanded(self._parameters[index] if index < len(self._parameters) else "", quoted)
            return
        for n, word in enumerate(self._parameters[1:]):
            if n and self._divides and not (quoted and which == "*"):
                self._end_word()
            elif n:
                self._add(" ")
            self._expanded(word, quoted)

    def _expanded(self, value: str, quoted: bool) -> None:
        """Without quotes, blanks in a value divide words, and nothing is no word."""
        if quoted or not self._divides or (self._may_assign and _ASSIGNMENT.match(self._lead)):
            self._add(value)
            return
        pieces = [piece for piece in _IFS.split(value) if piece]
        if _IFS.match(value):
            self._end_word()
        for n, piece in enumerate(pieces):
            if n:
                self._end_word()
            self._add(piece)
        if pieces and _IFS.match(value[-1:]):
            self._end_word()

    # Where things end.

    def _find(self, what: str, start: int) -> int:
        end = self._text.find(what, start)
        if end < 0:
            raise ScriptError(f"a {what} is not closed")
        return end

    def _backquoted(self) -> str:
        end = self._find("`", self._at + 1)
        text = self._text[self._at : end + 1]
        self._at = end + 1
        return text

    def _closing(self, opening: str, closing: str, at: int) -> int:
        depth, quote = 0, ""
        for position in range(at, len(self._text)):
            c = self._text[position]
            if quote:
                quote = "" if c == quote else quote
            elif c in "'\"":
                quote = c
            elif c == opening:
                depth += 1
            elif c == closing:
                depth -= 1
                if depth == 0:
                    return position
        raise ScriptError(f"a {opening} is not closed")
