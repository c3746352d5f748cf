"""Pools from a JSON file: for gateways without Kubernetes, and for tests. The file is read again when it changes,
and so are the picker configurations that it names.

    {"pools": [{"key": "ns/name", "models": ["m"], "runtime": "vllm", "endpoints": ["10.0.0.1:8000"]}]}

An endpoint is its address, or an object with `address`, `pod`, `role`, `labels` and `runtime`. A pool may also have
`adapters`, `rewrites` ([{"models": [], "targets": [{"model": "m", "weight": 1}]}]; exact names go before any name, else
in their order), `objectives` (name -> priority), `config` and `tokenizer` (paths, relative to the file) and `h2c`.
Pools listed earlier are older.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from fairlead.clock import SYSTEM, Clock
from fairlead.engines import ENGINES
from fairlead.gateway.endpoints import Endpoint, Pool, Registry, Rewrite

POLL_INTERVAL_S = 0.2

ROLES = ("both", "prefill", "decode", "encode", "prefill-decode", "encode-prefill")

_log = logging.getLogger(__name__)

_Version = tuple[int, int, int] | None  # time, size and inode of a file; None = it is not there


class _Endpoint(msgspec.Struct, forbid_unknown_fields=True):
    address: str
    pod: str = ""
    role: str = "both"
    labels: dict[str, str] = {}
    runtime: str = ""


class _Target(msgspec.Struct, forbid_unknown_fields=True):
    model: str
    weight: int = 1


class _Rewrite(msgspec.Struct, forbid_unknown_fields=True):
    targets: list[_Target]
    models: list[str] = []
    name: str = ""


class _Pool(msgspec.Struct, forbid_unknown_fields=True):
    key: str
    models: list[str]
    endpoints: list[str | _Endpoint]
    runtime: str = "vllm"
    adapters: list[str] = []
    rewrites: list[_Rewrite] = []
    objectives: dict[str, int] = {}
    config: str = ""
    tokenizer: str = ""
    h2c: bool = False


class _File(msgspec.Struct, forbid_unknown_fields=True):
    pools: list[_Pool]


class FileSource:
    """Follows one file. A file that cannot be read or is malformed changes nothing and is logged once per change."""

    def __init__(self, path: Path, clock: Clock = SYSTEM) -> None:
        self._path = path
        self._clock = clock
        self._seen: dict[Path, _Version] = {}

    async def run(self, registry: Registry) -> None:
        """Fill the registry until cancelled."""
        while True:
            self._look(registry)
            await self._clock.sleep(POLL_INTERVAL_S)

    def _look(self, registry: Registry) -> None:
        if self._has_changed(self._path):
            try:
                pools = read_pools(self._path.read_bytes(), self._path.parent)
            except (OSError, msgspec.MsgspecError, ValueError) as error:
                _log.warning("endpoints file %s: %s", self._path, error)
            else:
                self._apply(registry, pools)
        for config in {pool.config for pool in registry.pools.values() if pool.config}:
            self._look_at_config(registry, config)

    def _apply(self, registry: Registry, pools: Sequence[Pool]) -> None:
        before, now = set(registry.pools), {pool.key for pool in pools}
        for pool in pools:
            registry.set_pool(pool)
        for key in before - now:
            registry.remove_pool(key)
        for config in set(registry.configs) - {pool.config for pool in pools}:
            registry.set_config(config, None)
            self._seen.pop(Path(config), None)
        registry.mark_synced()

    def _look_at_config(self, registry: Registry, config: str) -> None:
        path = Path(config)
        if not self._has_changed(path):
            return
        try:
            registry.set_config(config, path.read_text())
        except (OSError, UnicodeDecodeError) as error:
            _log.warning("picker configuration %s: %s", path, error)

    def _has_changed(self, path: Path) -> bool:
        version: _Version = None
        try:
            status = path.stat()
            version = (status.st_mtime_ns, status.st_size, status.st_ino)
        except OSError:
            # Said once: a file that is not there is a version of its own.
            pass
        if path in self._seen and self._seen[path] == version:
            return False
        self._seen[path] = version
        return True


def read_pools(text: bytes, folder: Path = Path()) -> list[Pool]:
    """The pools of a file; paths in it are relative to `folder`.

    Raises msgspec.MsgspecError for what has another form, and ValueError for values that cannot be.
    """
    entries = msgspec.json.decode(text, type=_File).pools
    pools: dict[str, Pool] = {}
    for age, entry in enumerate(entries):
        if entry.key in pools:
            raise ValueError(f"pools[{age}].key: {entry.key!r} is there twice; each pool needs a key of its own")
        try:
            pools[entry.key] = _pool(entry, f"{age:06d}", folder)
        except ValueError as error:
            raise ValueError(f"pool {entry.key}: {error}") from None
    return list(pools.values())


def _pool(entry: _Pool, age_key: str, folder: Path) -> Pool:
    endpoints = [_endpoint(e if isinstance(e, _Endpoint) else _Endpoint(e)) for e in entry.endpoints]
    rewrites = [_rewrite(rule, f"{entry.key}/{n}") for n, rule in enumerate(entry.rewrites)]
    return Pool(
        key=entry.key,
        models=tuple(dict.fromkeys(entry.models)),
        endpoints=tuple({e.address: e for e in endpoints}.values()),
        runtime=_known("runtime", entry.runtime, ENGINES),
        age_key=age_key,
        config=str(folder / entry.config) if entry.config else "",
        rewrites=tuple(sorted(rewrites, key=lambda rule: not rule.models)),
        objectives=entry.objectives,
        tokenizer=str(folder / entry.tokenizer) if entry.tokenizer else "",
        adapters=tuple(dict.fromkeys(entry.adapters)),
        h2c=entry.h2c,
    )


def _endpoint(entry: _Endpoint) -> Endpoint:
    role = _known("role", entry.role, ROLES)
    runtime = _known("runtime", entry.runtime, ENGINES) if entry.runtime else ""
    return Endpoint(_address(entry.address), entry.pod, role, entry.labels, runtime)


def _rewrite(entry: _Rewrite, name: str) -> Rewrite:
    if not entry.targets:
        raise ValueError("rewrites: a rule without targets; name at least one")
    for target in entry.targets:
        if target.weight < 1:
            raise ValueError(f"rewrites: target {target.model!r} has weight {target.weight}; weights are 1 or more")
    return Rewrite(tuple(entry.models), tuple((t.model, t.weight) for t in entry.targets), entry.name or name)


def _known(field: str, value: str, known: Sequence[str] | Mapping[str, object]) -> str:
    if value not in known:
        raise ValueError(f"unknown {field} {value!r}; known are {', '.join(known)}")
    return value


def _address(text: str) -> str:
    """Envoy is given addresses as they are, and does not look up names."""
    host, _, port = text.rpartition(":")
    try:
        address = ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
        if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise ValueError
    except ValueError:
        raise ValueError(f"endpoints: {text!r} is not ip:port, as 10.0.0.1:8000 or [fd00::1]:8000") from None
    return f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
