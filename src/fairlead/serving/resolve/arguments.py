"""The engine's further arguments: those that the runtime demands, those that it suggests, and the service's. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from fairlead.serving.resolve.expressions import Scope
from fairlead.serving.resolved import Unservable

_FLAG = re.compile(r"--?[A-Za-z][\w.-]*")
_SETTING = re.compile(r"[A-Za-z_][\w.]*(?==)")
_SPACE = re.compile(r"\s+")


def merged(
    required: Sequence[str], suggested: Sequence[str], own: Sequence[str], scope: Scope, runtime: str
) -> tuple[str, ...]:
    """Suggested arguments that the service does not speak of, the service's, then those that are required (of a flag
    that is given twice, engines take the last). Raises Unservable where the service sets a flag that is required."""
    demands = [_group(text, scope, f"requiredArgs[{i}]") for i, text in enumerate(required)]
    suggestions = [_group(text, scope, f"defaultArgs[{i}]") for i, text in enumerate(suggested)]
    said = set(flags(own))
    for demand in demands:
        given = said.intersection(flags(demand))
        if given and not _is_said(demand, own):
            raise Unservable(
                "args", next(iter(given)), f"ServingRuntime {runtime} demands {' '.join(demand)}, which no service can "
                "change: leave it out, or take another runtime",
            )  # fmt: skip
    kept = [group for group in suggestions if said.isdisjoint(flags(group))]
    return (*_flat(kept), *own, *_flat(demands))


def flags(arguments: Iterable[str]) -> Iterator[str]:
    """The flags among arguments, each as `--flag`: `--flag=value`, `--no-flag` and `--a_flag` are known; settings of
    the form key=value count, too."""
    for argument in arguments:
        found = _FLAG.match(argument) or _SETTING.match(argument)
        if found:
            yield normal(found[0])


def normal(flag: str) -> str:
    """A flag without the differences that mean nothing."""
    name = flag.replace("_", "-")
    return f"--{name[5:]}" if name.startswith("--no-") else name


def _group(text: str, scope: Scope, field: str) -> tuple[str, ...]:
    """The arguments that one text of a runtime stands for: a flag and its value, parted by the first space. A value
    that is an expression may be a list (several arguments), true (the flag alone), false or null (nothing)."""
    flag, value = _split(text)
    if value is None:
        return tuple(_words(scope.expand(flag, field)))
    result = scope.expand(value, field)
    if result is None or result is False:
        return ()
    return (flag,) if result is True else (flag, *_words(result))


def _split(text: str) -> tuple[str, str | None]:
    found = _FLAG.match(text)
    if found is None:
        return text, None
    gap = _SPACE.match(text, found.end())
    return (text[: found.end()], text[gap.end() :]) if gap else (text, None)


def _words(result: Any) -> Iterator[str]:
    if result is None or isinstance(result, bool):
        if result:
            yield "true"
    elif isinstance(result, (list, tuple)):
        yield from (word for item in result for word in _words(item))
    else:
        yield str(result)


def _is_said(demand: Sequence[str], own: Sequence[str]) -> bool:
    """Whether the service says the same as the runtime."""
    width = len(demand)
    return any(tuple(own[i : i + width]) == tuple(demand) for i in range(len(own) - width + 1))


def _flat(groups: Iterable[Sequence[str]]) -> Iterator[str]:
    return (word for group in groups for word in group)
