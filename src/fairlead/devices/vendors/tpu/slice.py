"""The slice that a host is part of, from what the platform tells: variables first, then the file `tpu-env`.

The file is lines of KEY: 'value' (Cloud TPU's metadata attribute of that name). What is not told stays unknown; what is
told and makes no sense is left out with a reason, since a host's chips work by themselves without it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import prod

from fairlead.devices.errors import ProbeError
from fairlead.devices.host import Host
from fairlead.devices.vendors.tpu.facts import HOST_BOUNDS, Generation, Shape, Skipped, Slice

ENV_FILES = ("/etc/tpu/tpu-env", "/home/tpu-runtime/tpu-env")

_LINE = re.compile(r"\s*([A-Z][A-Z0-9_]*)\s*[:=]\s*(.*?)\s*")
_SHAPE = re.compile(r"\d{1,4}([x,]\d{1,4}){0,2}")
_ACCELERATOR_TYPE = re.compile(r"[a-z0-9]+-\d+")
_ACCELERATORS = (
    ("v5litepod", "tpu-v5-lite-podslice"),
    ("v5lite", "tpu-v5-lite-device"),
    ("v5p", "tpu-v5p-slice"),
    ("v6e", "tpu-v6e-slice"),
    ("v4", "tpu-v4-podslice"),
    ("v3", "tpu-v3-slice"),
    ("tpu7x", "tpu7x"),
)
"""Beginning of an accelerator type -> name of the accelerator in node labels (GKE, and upstream's driver)."""
_WORKER = re.compile(r"\d{1,6}", re.ASCII)
_HOSTNAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,252})")


def read_slice(
    host: Host, environment: Mapping[str, str], files: tuple[str, ...], generation: Generation | None, chips: int
) -> tuple[Slice, tuple[Skipped, ...]]:
    """The slice, and values that were told and are left out."""
    problems: list[Skipped] = []
    told = _told(host, environment, files, problems)
    kind = told.get("ACCELERATOR_TYPE") or told.get("TYPE")
    if kind is not None and not _ACCELERATOR_TYPE.fullmatch(kind.lower()):
        problems.append(Skipped("ACCELERATOR_TYPE", f'"{kind}" is not of the form v6e-8'))
        kind = None
    per_host = _shape(told, "CHIPS_PER_HOST_BOUNDS", problems)
    if per_host is not None and prod(per_host) != chips:
        problems.append(Skipped("CHIPS_PER_HOST_BOUNDS", f"is for {prod(per_host)} chips a host; {chips} are here"))
        per_host = None
    topology = _topology(told, per_host or HOST_BOUNDS.get(chips), problems)
    names = tuple(name.strip() for name in told.get("WORKER_HOSTNAMES", "").split(",") if name.strip())
    if any(not _HOSTNAME.fullmatch(name) for name in names):
        problems.append(Skipped("WORKER_HOSTNAMES", f'"{",".join(names)[:60]}" is no list of host names'))
        names = ()
    workers = None if topology is None or not chips else max(1, prod(topology) // chips)
    lowered = None if kind is None else kind.lower()
    accelerator = (
        None if lowered is None else next((n for start, n in _ACCELERATORS if lowered.startswith(start)), None)
    )
    found = Slice(
        accelerator_type=lowered,
        accelerator=told.get("ACCELERATOR") or accelerator,
        topology=topology,
        chips_per_host=per_host,
        worker=_worker(told, workers, problems),
        worker_hostnames=names,
    )
    return found, tuple(problems)


def shape_text(shape: Shape, generation: Generation) -> str:
    """ "2x4" for generations whose slices are flat, "2x2x4" for the others."""
    return "x".join(str(length) for length in shape[: generation.axes])


def _told(
    host: Host, environment: Mapping[str, str], files: tuple[str, ...], problems: list[Skipped]
) -> dict[str, str]:
    """Key without the prefix TPU_ -> value; empty values count as not told."""
    told: dict[str, str] = {}
    for path in files:
        try:
            text = host.text(path, "")
        except ProbeError as error:
            problems.append(Skipped(path, str(error)))
            continue
        if text:
            matches = (_LINE.fullmatch(line) for line in text.splitlines())
            told = {match[1].removeprefix("TPU_"): match[2].strip("'\"") for match in matches if match}
            break
    told |= {
        name.removeprefix("TPU_"): value for name, value in environment.items() if name.startswith("TPU_") and value
    }
    return {name: value for name, value in told.items() if value}


def _shape(told: Mapping[str, str], name: str, problems: list[Skipped]) -> Shape | None:
    text = told.get(name)
    if text is None:
        return None
    lengths = [int(part) for part in re.split("[x,]", text)] if _SHAPE.fullmatch(text) else []
    if not lengths or 0 in lengths:
        problems.append(Skipped(name, f'"{text[:40]}" is no shape such as 2x4 or 2,2,1'))
        return None
    x, y, z = (*lengths, 1, 1)[:3]
    return x, y, z


def _topology(told: Mapping[str, str], per_host: Shape | None, problems: list[Skipped]) -> Shape | None:
    """Told as such, or as hosts along each axis. It must be made of whole hosts."""
    topology = _shape(told, "TOPOLOGY", problems)
    if topology is None:
        hosts = _shape(told, "HOST_BOUNDS", problems)
        if hosts is None or per_host is None:
            return None
        return hosts[0] * per_host[0], hosts[1] * per_host[1], hosts[2] * per_host[2]
    if per_host is not None and any(length % part for length, part in zip(topology, per_host, strict=True)):
        problems.append(Skipped("TOPOLOGY", f"{topology} chips are not made of hosts of {per_host} chips"))
        return None
    return topology


def _worker(told: Mapping[str, str], workers: int | None, problems: list[Skipped]) -> int | None:
    text = told.get("WORKER_ID")
    if text is None:
        return None
    if not _WORKER.fullmatch(text) or (workers is not None and int(text) >= workers):
        limit = "" if workers is None else f" below {workers}, the hosts of the slice"
        problems.append(Skipped("WORKER_ID", f'"{text[:40]}" is no number{limit}'))
        return None
    return int(text)
