"""Which servers a container starts: its command, through shells and wrappers, down to the known programs. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from fairlead.serving.adoption.arguments import Arguments
from fairlead.serving.adoption.programs import PROGRAMS, Program, of_image, starts_at
from fairlead.serving.adoption.shell import ScriptError, read_script, shown
from fairlead.serving.adoption.variables import Environment, environment_of

Json = Mapping[str, Any]

_SHELLS: Final = frozenset(("sh", "bash", "dash", "ash", "zsh", "ksh"))
_ASIDE: Final = frozenset((
    "echo", "printf", "which", "type", "command", "test", "[", "[[", "ls", "cat", "grep", "sed", "pip", "pip3", "apt",
    "apt-get", "apk", "curl", "wget", "kill", "pkill", "trap",
))  # fmt: skip
"""Commands that name a server and do not start it."""
_MAX_DEPTH: Final = 5


@dataclass(frozen=True, slots=True)
class Server:
    """A program with its arguments and the variables that it sees."""

    program: Program
    arguments: Arguments
    env: Mapping[str, str]
    command: str
    """The words, for people."""
    is_image: bool = False
    """Whether the image's own entry point starts it."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a container starts: servers, or else why none was found."""

    servers: tuple[Server, ...]
    image: Program | None
    why: str = ""


def servers_of(container: Json) -> Found:
    """The servers in a container's command that answer requests, each once."""
    image = of_image(container.get("image") or "")
    env = environment_of(container)
    command = [env.expand(word) for word in container.get("command") or ()]
    args = [env.expand(word) for word in container.get("args") or ()]
    if not command and image is not None:
        return Found((Server(image, Arguments(args), env.values, _told(args), is_image=True),), image)
    if not command and not args:
        return Found((), image, "it has no command, and its image is none that is known")
    try:
        found = list(_servers([*command, *args], env, 0))
    except ScriptError as error:
        return Found((), image, f"its script cannot be read: {error}")
    serving = [s for s in found if not s.arguments.has(*s.program.idle_flags)]
    if image is not None and image.runtime == "vllm-tpu":
        serving = [replace(s, program=image) if s.program.runtime == "vllm" else s for s in serving]
    if serving:
        return Found(tuple({s.command: s for s in serving}.values()), image)
    if found:
        return Found((), image, f"{found[0].command} answers no requests")
    return Found((), image, f"none of the servers that are known is in its command: {_told([*command, *args])}")


def _servers(words: Sequence[str], env: Environment, depth: int) -> Iterator[Server]:
    for at in range(len(words)):
        for program in PROGRAMS:
            end = starts_at(program, words, at)
            if end is not None:
                yield Server(program, Arguments(words[end:]), env.values, _told(words[at:]))
                return
    script, parameters = _script(words)
    if script is None or depth == _MAX_DEPTH:
        return
    for command in read_script(script, env.values, parameters, env_is_whole=env.is_whole):
        if command.words[0] not in _ASIDE:
            yield from _servers(command.words, Environment(command.env, env.is_whole), depth + 1)


def _script(words: Sequence[str]) -> tuple[str | None, Sequence[str]]:
    """The text that a shell among the words runs, with its parameters; None where there is none."""
    if words and words[0] == "eval":
        return " ".join(words[1:]), ()
    start = next((n for n, word in enumerate(words) if word.rpartition("/")[2] in _SHELLS), None)
    if start is None:
        return None, ()
    takes_script = False
    at = start + 1
    while at < len(words) and words[at][:1] in ("-", "+") and len(words[at]) > 1:
        option = words[at]
        is_short = not option.startswith("--")
        takes_script = takes_script or (is_short and option.startswith("-") and "c" in option)
        at += 2 if is_short and option.endswith("o") else 1
    if not takes_script or at >= len(words):
        return None, ()
    return words[at], words[at + 1 :] or words[start : start + 1]


def _told(words: Sequence[str]) -> str:
    text = " ".join(shown(word) for word in words)
    return text if len(text) <= 120 else f"{text[:119]}…"
