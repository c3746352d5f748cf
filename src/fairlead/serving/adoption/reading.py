"""What a container says of the engine in it: which one, under which names, on which port. Pure.

Nothing is guessed: what a variable, a file or a script hides is a gap, which says what hides it and what would tell it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from fairlead.engines import engine_for
from fairlead.serving.adoption.programs import PROGRAMS
from fairlead.serving.adoption.servers import Found, Server, servers_of
from fairlead.serving.adoption.shell import shown, unknown

Json = Mapping[str, Any]
Field = Literal["engine", "model", "port"]

_LOOPBACK: Final = frozenset(("127.0.0.1", "localhost", "::1"))
_NAME: Final = re.compile(r"[^\s,\x00-\x1f]+")


@dataclass(frozen=True, slots=True)
class Gap:
    """Something that has to be known and is not."""

    field: Field
    why: str


@dataclass(frozen=True, slots=True)
class Reading:
    """One engine. What is not known is empty, with a gap that says why."""

    runtime: str = ""
    names: tuple[str, ...] = ()
    """Under which it answers, the first its model's own."""
    port: int = 0
    """0: not known."""
    adapters: tuple[str, ...] = ()
    """Names of LoRA adapters that it loads at its start."""
    notes: tuple[str, ...] = ()
    """What makes serving it less good, each with what would help."""
    gaps: tuple[Gap, ...] = ()


def read_containers(containers: Sequence[Json], name: str = "") -> Reading:
    """The engine among the containers of a pod; `name` says which of them it is, where that is known."""
    asked = [c for c in containers if not name or c["name"] == name]
    if not asked:
        there = ", ".join(c["name"] for c in containers)
        return Reading(gaps=_all_gaps(f"there is no container {name!r}; there are {there}"))
    found = [(container, servers_of(container)) for container in asked]
    serving = [(container, f) for container, f in found if f.servers]
    if len(serving) > 1:
        names = ", ".join(container["name"] for container, _ in serving)
        return Reading(gaps=_all_gaps(f"containers {names} all start an engine; say which is meant"))
    container, which = (serving or found)[0]
    if serving and len(which.servers) == 1:
        return _read(container, which.servers[0])
    return _unread(container, which, found if not serving else [])


def _unread(container: Json, which: Found, others: Sequence[tuple[Json, Found]]) -> Reading:
    if which.servers:
        commands = "; ".join(server.command for server in which.servers)
        why = f"container {container['name']} starts several servers ({commands}); say which is meant"
        return Reading(gaps=_all_gaps(why))
    image = next((f.image for _, f in others if f.image is not None), None)
    why = "; ".join(f"container {c['name']}: {f.why}" for c, f in others)
    if image is None:
        return Reading(gaps=_all_gaps(f"{why} (known are {', '.join(sorted({p.runtime for p in PROGRAMS}))})"))
    gaps: tuple[Gap, ...] = (Gap("model", why), Gap("port", why))
    return Reading(runtime=image.runtime, notes=_notes(container, None), gaps=gaps)


def _read(container: Json, server: Server) -> Reading:
    gaps: list[Gap] = []
    notes = list(_notes(container, server))
    port = _port(container, server, gaps.append, notes)
    _reachable(server, gaps.append)
    names = _names(server, gaps.append)
    return Reading(
        runtime=server.program.runtime,
        names=names,
        port=port,
        adapters=_adapters(server),
        notes=tuple(notes),
        gaps=tuple(gaps),
    )


# The port.


def _port(container: Json, server: Server, gap: Callable[[Gap], None], notes: list[str]) -> int:
    program = server.program
    text, source = _setting(server, program.port_flags, (program.port_env,))
    if text is not None:
        number = int(text) if text.isdecimal() and text.isascii() else 0
        if not 0 < number < 65536:
            gap(Gap("port", f"{source} is {_what(text)}"))
            return 0
        return number
    hidden = _hidden(server)
    if not hidden and program.default_port is not None:
        return program.default_port
    declared = _declared_port(container)
    if declared:
        notes.append(f"the port is the one that container {container['name']} declares, {declared}")
        return declared
    why = f"{hidden} may say it" if hidden else f"it has no {program.port_flags[0]}, without which it opens none"
    gap(Gap("port", f"{why}, and container {container['name']} declares no single port"))
    return 0


def _declared_port(container: Json) -> int:
    """The port of the readiness probe, else the only one there is; 0 where neither tells."""
    ports = [p for p in container.get("ports") or () if (p.get("protocol") or "TCP") == "TCP"]
    probe = ((container.get("readinessProbe") or {}).get("httpGet") or {}).get("port")
    if isinstance(probe, str):
        probe = next((p["containerPort"] for p in ports if p.get("name") == probe), None)
    if isinstance(probe, int):
        return probe
    return int(ports[0]["containerPort"]) if len(ports) == 1 else 0


def _reachable(server: Server, gap: Callable[[Gap], None]) -> None:
    program = server.program
    host, source = _setting(server, program.host_flags, (program.host_env,))
    if host in _LOOPBACK:
        gap(Gap("port", f"{source} is {host}, where nobody outside of the pod reaches it: make it 0.0.0.0"))
    elif host is None and program.is_local and not server.is_image and not _hidden(server):
        flag = program.host_flags[0]
        gap(Gap("port", f"without {flag} it listens on the pod's loopback address alone: add {flag} 0.0.0.0"))
    tls = next((flag for flag in program.tls_flags if server.arguments.has(flag)), None)
    if tls is not None:
        gap(Gap("port", f"with {tls} it answers HTTPS alone, and the gateway speaks HTTP to engines: take it out"))


# The names.


def _names(server: Server, gap: Callable[[Gap], None]) -> tuple[str, ...]:
    program = server.program
    given, source = _given_names(server)
    if program.adds_names or not given:
        hidden = _hidden(server)
        if hidden and program.name_flags and not given and engine_for(program.runtime).knows_names:
            gap(Gap("model", f"{hidden} may say {program.name_flags[0]}"))
            return ()
        model, model_source = _model(server)
        if model is None:
            wanted = (*program.name_flags, *program.model_flags)[:1]
            gap(Gap("model", f"it has no {wanted[0]}" if wanted else f"{program.name_env or 'its name'} is not set"))
            return ()
        given, source = [model, *given], source if given and not unknown(given[0]) else model_source
    wrong = next((name for name in given if unknown(name) or not _NAME.fullmatch(name)), None)
    if wrong is not None:
        gap(Gap("model", f"{source} is {_what(wrong)}"))
        return ()
    return tuple(dict.fromkeys(given))


def _given_names(server: Server) -> tuple[list[str], str]:
    program = server.program
    values = server.arguments.values(*program.name_flags)
    if values:
        last = values[-1]
        if program.repeats_names:
            last = [name for each in values for name in each[:1]]
        elif not program.has_many_names:
            last = [name for value in last[:1] for name in value.split(",")]
        # A variable behind a name may hold further arguments as well as names; the name counts all the same.
        is_more = [n > 0 and name.startswith("\x00") for n, name in enumerate(last)]
        return [name for name, more in zip(last, is_more, strict=True) if name and not more], program.name_flags[0]
    value = server.env.get(program.name_env) if program.name_env else None
    return (value.split(",") if value else []), program.name_env


def _model(server: Server) -> tuple[str | None, str]:
    program = server.program
    text, source = _setting(server, program.model_flags, program.model_env)
    if text is None and program.takes_position:
        text, source = server.arguments.positional(), "its model"
    if text is None or engine_for(program.runtime).knows_names or unknown(text):
        return text, source
    # Whoever does not look at names answers to the shorter one too.
    return (text.rstrip("/").rpartition("/")[2].removesuffix(".gguf") if text.startswith("/") else text), source


def _adapters(server: Server) -> tuple[str, ...]:
    names = []
    values = server.arguments.values(*server.program.adapter_flags)
    for value in values[-1] if values else ():
        name = value.partition("=")[0]
        if value.startswith("{"):
            try:
                name = str(json.loads(value)["name"])
            except (ValueError, KeyError, TypeError):
                continue
        if _NAME.fullmatch(name) and not unknown(name):
            names.append(name)
    return tuple(dict.fromkeys(names))


# Where settings are.


def _setting(server: Server, flags: Sequence[str], variables: Sequence[str]) -> tuple[str | None, str]:
    """The value, and what gives it: a flag before a variable, as servers have it."""
    value = server.arguments.value(*flags)
    if value is not None:
        return value, next(flag for flag in flags if server.arguments.has(flag))
    for variable in variables:
        if variable and variable in server.env:
            return server.env[variable], variable
    return None, ""


def _hidden(server: Server) -> str:
    """What may hold settings that are not seen here; empty where nothing does."""
    config = next((flag for flag in server.program.config_flags if server.arguments.has(flag)), None)
    if config is not None:
        return f"the file of {config}"
    return ", ".join(server.arguments.open())


def _notes(container: Json, server: Server | None) -> tuple[str, ...]:
    notes = []
    if not container.get("readinessProbe"):
        notes.append(
            f"container {container['name']} has no readinessProbe: requests come as soon as it runs, before its model "
            "is loaded; add one"
        )
    if server is None:
        return tuple(notes)
    program, arguments = server.program, server.arguments
    mute = next((flag for flag in program.mute_flags if arguments.has(flag)), None)
    if mute is not None:
        notes.append(f"with {mute} its metrics say nothing: the gateway picks by its own counts alone; take it out")
    elif program.metrics_flag and not arguments.has(program.metrics_flag):
        flag = program.metrics_flag
        notes.append(f"without {flag} it has no metrics: the gateway picks by its own counts alone; add it")
    return tuple(notes)


def _what(text: str) -> str:
    parts = unknown(text)
    if not parts:
        return repr(text)
    return f"{shown(text)}, and what {', '.join(parts)} stands for is not in the pod's template"


def _all_gaps(why: str) -> tuple[Gap, ...]:
    return (Gap("engine", why), Gap("model", why), Gap("port", why))
