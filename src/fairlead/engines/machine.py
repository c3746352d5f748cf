"""Which engines a machine can run: the program, the accelerator it needs, and why not where not. Pure.

Whoever asks says what the machine has (`Machine`); how to find that out is the caller's affair.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from fairlead.engines.engine import Engine


@dataclass(frozen=True, slots=True)
class Machine:
    """What a machine has. Programs that are not in `programs` are not there."""

    programs: Mapping[str, str]
    """Program -> its path."""
    versions: Mapping[str, str]
    """Python distribution -> version, of those that can be imported."""
    accelerators: frozenset[str]
    """Kinds that are present: nvidia, amd, furiosa, tpu."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an engine runs here."""

    runtime: str
    title: str
    api: str
    can_run: bool
    version: str | None
    """Of the program that is here; None when there is none or it does not say."""
    path: str | None
    reasons: tuple[str, ...]
    """What is missing and how to get it; empty when it runs."""


def judge(engines: Iterable[Engine], machine: Machine) -> list[Verdict]:
    """One verdict for each engine, in their order."""
    return [_verdict(engine, machine) for engine in engines]


def _verdict(engine: Engine, machine: Machine) -> Verdict:
    program = engine.program
    path = machine.programs.get(program.name)
    version = machine.versions.get(program.module) if program.module else None
    reasons = []
    # Python's own interpreter is everywhere: there the distribution decides.
    has_program = path is not None and (program.name != "python3" or version is not None)
    if not has_program:
        reasons.append(
            f"{program.name if program.name != 'python3' else program.module} is not installed: {program.install}"
        )
    if program.accelerators and not machine.accelerators.intersection(program.accelerators):
        reasons.append(f"needs an accelerator ({' or '.join(program.accelerators)}), and there is none here")
    return Verdict(
        engine.runtime,
        engine.title,
        engine.api,
        not reasons,
        version if has_program else None,
        path if has_program else None,
        tuple(reasons),
    )
