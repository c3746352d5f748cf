"""A foreign regular expression applied to names, within a time limit.

Python's expressions can backtrack for ages, and hold the interpreter meanwhile, so that no thread and no clock gets a
turn. Whoever may send a request could stop a server with one. They run in a process of their own, which can be ended.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import Final

import msgspec

from fairlead.devices.topology.errors import Unsupported

TIMEOUT_S = 5.0
_PROGRAM: Final = """
import json, re, sys
expression, template, names = json.load(sys.stdin)
def answer():
    try:
        compiled = re.compile(expression)
    except (re.error, RecursionError, OverflowError) as error:
        return {"wrong": f'blockName.nodeNameRegexp: "{expression}": {error}'}
    found = []
    for name in names:
        match = compiled.search(name)
        if match is None:
            return {"wrong": f'blockName.nodeNameRegexp: "{expression}" does not match node "{name}"'}
        try:
            found.append(match.expand(template))
        except (re.error, IndexError) as error:
            return {"wrong": f'blockName.format: "{template}": {error}'}
    return {"found": found}
json.dump(answer(), sys.stdout)
"""


class _Answer(msgspec.Struct, frozen=True):
    found: tuple[str, ...] = ()
    wrong: str = ""


def expand_matches(expression: str, template: str, names: Sequence[str], timeout_s: float = TIMEOUT_S) -> list[str]:
    """The template (`\\g<1>`) filled from the first match in each name. Raises Unsupported: the expression or template
    is wrong, matches a name nowhere, or takes too long."""
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _PROGRAM],
            input=msgspec.json.encode([expression, template, names]),
            capture_output=True,
            timeout=timeout_s,
            check=True,
        )
    except subprocess.TimeoutExpired:
        text = f'blockName.nodeNameRegexp: "{expression[:80]}" takes longer than {timeout_s:g} s; avoid nested repeats'
        raise Unsupported(text) from None
    except subprocess.CalledProcessError as error:
        raise Unsupported(f'blockName.nodeNameRegexp: "{expression[:80]}" cannot be used') from error
    answer = msgspec.json.decode(done.stdout, type=_Answer)
    if answer.wrong:
        raise Unsupported(answer.wrong)
    return list(answer.found)
