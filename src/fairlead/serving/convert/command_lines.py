"""What a foreign container starts: which engine, and with which arguments, also where a shell script stands between.

Only what starts the engine is read of a script. What else it does is said, and its variables become those of a pod.
"""

from __future__ import annotations

import io
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

_SHELLS: Final = frozenset({"sh", "bash", "ash", "dash"})
_STARTS: Final[tuple[tuple[re.Pattern[str], str], ...]] = tuple(
    (re.compile(rf"(?<![\w/.-]){pattern}(?![\w-])"), engine)
    for pattern, engine in (
        (r"vllm\s+serve", "vllm"),
        (r"python3?\s+-m\s+vllm\.entrypoints\.openai\.api_server", "vllm"),
        (r"python3?\s+-m\s+huggingfaceserver", "huggingfaceserver"),
        (r"python3?\s+-m\s+sglang\.launch_server", "sglang"),
        (r"sglang\s+serve", "sglang"),
        (r"(?:/opt/tritonserver/bin/)?tritonserver", "triton"),
        (r"text-generation-launcher", "tgi"),
        (r"trtllm-serve(?:\s+serve)?", "tensorrt-llm"),
        (r"(?:/app/)?llama-server", "llama-cpp"),
        (r"mlserver\s+start", "mlserver"),
        (r"(?:/ovms/bin/)?ovms", "openvino"),
        (r"furiosa-llm\s+serve", "furiosa-llm"),
        (r"(?:/app/)?llm-d-inference-sim", "simulated"),
    )
)
"""How the engines that Fairlead speaks to are started. `huggingfaceserver` is KServe's own, around vLLM."""

_IMAGES: Final[tuple[tuple[str, str], ...]] = (
    ("llm-d-inference-sim", "simulated"), ("huggingfaceserver", "huggingfaceserver"), ("vllm", "vllm"),
    ("llm-d-cuda", "vllm"), ("llm-d-rocm", "vllm"), ("llm-d-xpu", "vllm"), ("llm-d-cpu", "vllm"),
    ("sglang", "sglang"), ("tritonserver", "triton"), ("text-generation-inference", "tgi"),
    ("tensorrt-llm", "tensorrt-llm"), ("llama.cpp", "llama-cpp"), ("mlserver", "mlserver"),
    ("openvino/model_server", "openvino"), ("ovms", "openvino"),
    ("furiosa-llm", "furiosa-llm"),
)  # fmt: skip
"""Part of an image's name -> the engine in it."""

ADDITIONAL_ARGS: Final = "VLLM_ADDITIONAL_ARGS"
"""What KServe's start scripts add to vLLM's arguments; nothing where it is not set."""
_VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")
_BEFORE = re.compile(r"\s*(?:set\s+-[a-z]+\s*[;\n]\s*)?(?:eval\s+\"?)?(?:exec\s+)?\Z")
_OWN_NAME: Final = frozenset({"$0", "${0}"})
_ALL_ARGUMENTS: Final = frozenset({"$@", "${@}", "$*", "${*}"})


@dataclass(frozen=True, slots=True)
class Start:
    """`engine` is empty where nobody knows it. `arguments` follow the program that `command` is; `command` is empty
    where the program is the engine's own. `expanded` are variables whose text is in the arguments now. `problems` are
    sentences."""

    engine: str = ""
    command: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    expanded: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def engine_of_image(image: str) -> str:
    """The engine that an image holds, by its name; empty where that does not say."""
    lower = image.lower()
    return next((engine for part, engine in _IMAGES if part in lower), "")


def read_start(image: str, command: Sequence[str], args: Sequence[str], env: Mapping[str, str]) -> Start:
    """`env` are the container's variables with the values they have; those from elsewhere have an empty one."""
    if command and command[0].rpartition("/")[2] in _SHELLS and len(command) > 1 and command[1] == "-c":
        words = [*command[2:], *args]
        return _script(words[0], words[1:], image, env) if words else Start(engine_of_image(image), tuple(command))
    line = [*command, *args]
    started = _started(line)
    if started is not None:
        engine, length = started
        return Start(engine, (), tuple(line[length:]))
    return Start(engine_of_image(image), tuple(command), tuple(args))


def _started(line: Sequence[str]) -> tuple[str, int] | None:
    """The engine that a command line starts with, and how many words that takes."""
    for length in (4, 3, 2, 1):
        head = " ".join(line[:length])
        for pattern, engine in _STARTS:
            found = pattern.match(head)
            if found is not None and found.end() == len(head) and len(line) >= length:
                return engine, length
    return None


def _script(script: str, positional: Sequence[str], image: str, env: Mapping[str, str]) -> Start:
    text = re.sub(r"\\\n\s*", " ", script)
    text = "\n".join(line for line in text.split("\n") if not line.lstrip().startswith("#"))
    found = min(
        ((m.start(), m.end(), engine) for pattern, engine in _STARTS for m in pattern.finditer(text)), default=None
    )
    if found is None:
        why = f"the script starts no engine that is known here: neither it nor {list(positional)} is carried over"
        return Start(engine_of_image(image), problems=(why,))
    start, end, engine = found
    problems = []
    if not _BEFORE.match(text[:start]):
        problems.append("what the script does before it starts the engine is not carried over")
    words, rest = _statement(text[end:])
    if rest.strip().strip('"'):
        problems.append("what the script does beside or after starting the engine is not carried over")
    if positional and not any(word in _ALL_ARGUMENTS or word in _OWN_NAME for word in words):
        problems.append(f"the script does not hand on what follows it: {list(positional)} is not carried over")
    arguments, expanded, more = _expanded(words, positional, env)
    return Start(engine, (), tuple(arguments), tuple(expanded), (*problems, *more))


def _statement(text: str) -> tuple[list[str], str]:
    """The words up to the end of the statement, and what follows it."""
    source = io.StringIO(text)
    lexer = shlex.shlex(source, posix=True, punctuation_chars=";&|<>\n")
    lexer.whitespace = " \t\r"
    lexer.commenters = ""
    lexer.whitespace_split = True
    words: list[str] = []
    try:
        for word in lexer:
            if set(word) <= set(";&|<>\n"):
                return words, text[source.tell() :]
            words.append(word)
    except ValueError:
        # A quote that is not closed, as that of `eval "…"`.
        head, _, rest = text.rstrip().rstrip('"').partition("\n")
        return head.split(), rest
    return words, ""


def _expanded(
    words: Sequence[str], positional: Sequence[str], env: Mapping[str, str]
) -> tuple[list[str], list[str], list[str]]:
    arguments: list[str] = []
    expanded: list[str] = []
    problems: list[str] = []
    for word in words:
        # The first word after a script is its own name, $0.
        if word in _ALL_ARGUMENTS or word in _OWN_NAME:
            arguments += positional[1:] if word in _ALL_ARGUMENTS else positional[:1]
            continue
        alone = _VARIABLE.fullmatch(word)
        name = (alone[1] or alone[2]) if alone else ""
        if name == ADDITIONAL_ARGS and name not in env:
            continue
        if name and env.get(name):
            # A shell parts the text of an unquoted variable into words; a pod would not.
            arguments += split_words(env[name])
            expanded.append(name)
            continue
        unknown = [m[1] or m[2] for m in _VARIABLE.finditer(word) if (m[1] or m[2]) not in env]
        if unknown or re.search(r"\$[({]", _VARIABLE.sub("", word)) or "`" in word:
            problems.append(f"the argument {word!r} is the shell's to work out and left out: write what it stands for")
            continue
        arguments.append(_VARIABLE.sub(lambda m: f"$({m[1] or m[2]})", word))
    return arguments, expanded, problems


def split_words(text: str) -> list[str]:
    """Words as a shell parts them; by blanks alone where quotes are not closed."""
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()
