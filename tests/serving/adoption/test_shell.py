"""Scripts read as a shell reads them: the same words for the same text, and marks where only a run would tell."""

from __future__ import annotations

import shlex
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fairlead.serving.adoption.shell import ScriptError, mark, read_script, shown, unknown

ENV = {"A": "one", "B": "two words", "EMPTY": "", "PATHS": " x  y "}
_TEXT = st.text(alphabet="ab-=/.:1", min_size=1, max_size=5)
_FRAGMENTS = st.one_of(
    _TEXT,
    st.sampled_from(
        [
            "$A.", "${B}", '"$B"', "'$A b'", "${EMPTY}", '"$EMPTY"', "${PATHS}", '"${PATHS}"', "${NONE:-dflt}",
            '"${NONE-d e}"', "${A:-no}", "${EMPTY:-was empty}", "${EMPTY-}", "${A:+set}", "${NONE:+set}", "\\ ", '\\"',
            '"a\\"b"', '"\\$A"', '"\\n"', "$1", '"$@"', "$@", "\\\n", "${NONE:-$A/x}", "#no", "$.",
        ]
    ),
)  # fmt: skip
# bash takes what `$B` stands for apart everywhere but in a word that has a lone dollar too, which dash does not.
_WORDS = (
    st.lists(_FRAGMENTS, min_size=1, max_size=5)
    .map("".join)
    .filter(lambda word: not word.startswith("#") and ("$." not in word or word == "$."))
)


SHELL = shutil.which("bash")
"""Not dash, which divides what stands behind "$@" in a way of its own."""


def words_of_bash(script: str, parameters: list[str]) -> list[list[str]]:
    """What bash gives a command `run` for each line."""
    prelude = "run() { for each in \"$@\"; do printf '%s\\001' \"$each\"; done; printf '\\002'; }\n"
    done = subprocess.run(
        [SHELL or "", "--posix", "-fc", prelude + script, *parameters], env={**ENV, "PATH": "/usr/bin:/bin"},
        capture_output=True, text=True, timeout=20, check=True,
    )  # fmt: skip
    return [call.split("\x01")[:-1] for call in done.stdout.split("\x02")[:-1]]


@pytest.mark.skipif(SHELL is None, reason="there is no bash to compare with")
@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(_WORDS, max_size=4), min_size=1, max_size=4), st.lists(_TEXT, max_size=3))
def test_the_same_words_as_bash(lines: list[list[str]], parameters: list[str]) -> None:
    script = "\n".join(" ".join(["run", *words]) for words in lines)
    named = ["sh", *parameters]
    assert [list(c.words[1:]) for c in read_script(script, ENV, named)] == words_of_bash(script, named)


@given(st.lists(st.text(alphabet=st.characters(exclude_characters="\x00\x01"), max_size=8), min_size=1, max_size=6))
def test_what_is_quoted_comes_back(words: list[str]) -> None:
    (command,) = read_script("run " + shlex.join(words), ENV)
    assert list(command.words[1:]) == words


@given(st.text(alphabet="ab$\"'`{}()<>&|;\\\n #=-:", max_size=40))
def test_any_text_is_read_or_refused(script: str) -> None:
    try:
        commands = read_script(script, ENV)
    except ScriptError as error:
        assert str(error)
    else:
        assert all(command.words for command in commands)


@pytest.mark.parametrize(
    ("script", "words"),
    {
        "set -e; cd /x && exec serve --port 1 2>&1 | tee log": [
            ["set", "-e"], ["cd", "/x"], ["exec", "serve", "--port", "1"], ["tee", "log"],
        ],
        "P=80; serve --port $P": [["serve", "--port", "80"]],
        "export P=80 Q='a b'\nserve $P \"$Q\"": [["serve", "80", "a b"]],
        "P=8; P+=0; serve $P": [["serve", "80"]],
        "X=1 serve $X-": [["serve", f"{mark('$X')}-"]],
        "if test -f x; then serve a; else serve b; fi": [["test", "-f", "x"], ["serve", "a"], ["serve", "b"]],
        "while ! ready; do sleep 1; done # never mind\nserve": [["ready"], ["sleep", "1"], ["serve"]],
        "serve \\\n  --a \\\n  --b": [["serve", "--a", "--b"]],
        "serve >log 2>err </dev/null &> all": [["serve"]],
        "(serve a) & wait": [["serve", "a"], ["wait"]],
        ": ${P:=81}; serve $P": [[":", "81"], ["serve", "81"]],
    }.items(),
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_scripts(script: str, words: list[list[str]]) -> None:
    assert [list(command.words) for command in read_script(script, {})] == words


def test_what_only_a_run_would_tell_is_marked() -> None:
    (command,) = read_script('serve "$(cat /name)" --port $((8000 + I)) --host $HOST `x` ${A#b} a$?', {})
    asked = [unknown(word) for word in command.words]
    assert asked == [(), ("$(cat /name)",), (), ("$((8000 + I))",), (), ("$HOST",), ("`x`",), ("${A#b}",), ("$?",)]
    assert shown(command.words[-1]) == "a$?"


def test_a_default_does_not_count_where_others_may_set_the_variable() -> None:
    (command,) = read_script("serve ${P:-80} ${A:-1}", {"A": "2"}, env_is_whole=False)
    assert unknown(command.words[1]) == ("${P:-80}",) and command.words[2] == "2"


def test_a_command_sees_its_own_variables() -> None:
    first, second = read_script("A=1 B=$A serve; next", {"A": "0"})
    assert (first.env["A"], first.env["B"], second.env["A"]) == ("1", "0", "0")


@pytest.mark.parametrize("script", ['serve "a', "serve 'a", "serve ${A", "serve <<EOF\nx\nEOF", "serve $'a'"])
def test_what_is_not_read_is_refused(script: str) -> None:
    with pytest.raises(ScriptError):
        read_script(script, {})
