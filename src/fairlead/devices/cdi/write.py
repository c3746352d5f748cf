"""Spec files written so that a reader never sees half of one.

The text goes into a temporary file in the same folder (whose name no reader takes for a spec), is forced to the disk,
and takes its name in one step; then the folder is forced to the disk too. Whatever goes wrong, and wherever the process
dies, the name has the old text or the new one. A temporary file that a dead process left is removed by the next write
of the same name.
"""

from __future__ import annotations

import contextlib
import os
import re
from pathlib import Path
from typing import Any

import msgspec
import yaml

from fairlead.clock import SYSTEM, Clock
from fairlead.devices.cdi.errors import InvalidName, SpecWriteError
from fairlead.devices.cdi.read import SUFFIXES
from fairlead.devices.cdi.rules import validate
from fairlead.devices.cdi.spec import Spec
from fairlead.devices.cdi.versions import minimum_version
from fairlead.devices.cdi.yaml_values import YAML_WORDS

_MAX_NAME_BYTES = 200  # a file name's 255, less what a temporary one adds
_ABANDONED_S = 600.0  # no write lasts as long; a temporary file as old belongs to nobody

# What JSON allows bare but YAML does not, or folds as a line break: the reference implementation reads JSON as YAML.
_NOT_IN_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
# Text that every YAML parser takes for text without quotes. The parsers do not agree on the rest: "0E0" or "y", which
# the library here would leave bare, are a number and a boolean to the reference implementation.
_BARE = re.compile(r"[A-Za-z_/][A-Za-z0-9_/.=-]*")


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    pass


def _represent_text(dumper: Any, text: str) -> Any:
    bare = _BARE.fullmatch(text) and text.lower() not in YAML_WORDS
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if bare else '"')


_Dumper.add_representer(str, _represent_text)


def write_spec(
    folder: Path | str,
    name: str,
    spec: Spec,
    *,
    mode: int = 0o644,
    overwrite: bool = True,
    clock: Clock = SYSTEM,
) -> Path:
    """Write a spec into a folder, which is made if it is not there, and return its path.

    `name` ends with .json or .yaml, which chooses the form; without either it is JSON. The spec is written with the
    lowest version that has what it uses, whatever version it declares, so that every runtime that can take it does.
    Raises SpecError for an invalid spec, InvalidName, and SpecWriteError (a full disk, no permission; or, with
    `overwrite` off, a file of that name).
    """
    path = spec_path(folder, name)
    spec = msgspec.structs.replace(spec, cdi_version=minimum_version(spec))
    validate(spec, str(path))
    text = encode_yaml(spec) if path.suffix == ".yaml" else encode_json(spec)
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        _sweep(path, clock)
        _write(path, text, mode, overwrite=overwrite)
    except FileExistsError as error:
        raise SpecWriteError(str(path), "cannot be written: a file of that name is there") from error
    except OSError as error:
        raise SpecWriteError(str(path), f"cannot be written: {error.strerror}") from error
    return path


def remove_spec(folder: Path | str, name: str) -> bool:
    """Remove a spec that `write_spec` wrote with the same name. False if it was not there. Raises InvalidName,
    SpecWriteError."""
    path = spec_path(folder, name)
    try:
        path.unlink()
        _sync_folder(path.parent)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise SpecWriteError(str(path), f"cannot be removed: {error.strerror}") from error
    return True


def spec_path(folder: Path | str, name: str) -> Path:
    """Where a spec of this name is. Raises InvalidName for a name that is no plain file name."""
    if not name or name.startswith(".") or "/" in name or "\0" in name:
        raise InvalidName("name", name, 'expected a file name, without "/" and not beginning with "."')
    if len(name.encode()) > _MAX_NAME_BYTES:
        raise InvalidName("name", name, f"expected a file name of at most {_MAX_NAME_BYTES} bytes")
    return Path(folder) / (name if name.endswith(SUFFIXES) else f"{name}.json")


def encode_json(spec: Spec) -> bytes:
    """The spec as JSON, indented, with a newline at the end."""
    text = msgspec.json.format(msgspec.json.encode(spec), indent=2).decode()
    return _NOT_IN_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode() + b"\n"


def encode_yaml(spec: Spec) -> bytes:
    """The spec as a YAML document, fields in the order of the specification."""
    return to_yaml(spec).encode()


def to_yaml(value: Any) -> str:
    """Any value of this package as YAML."""
    # By way of JSON, which leaves out what is absent and knows lists and objects only.
    data = msgspec.json.decode(msgspec.json.encode(value))
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, default_flow_style=False, allow_unicode=True, width=1 << 16)


def _write(path: Path, text: bytes, mode: int, *, overwrite: bool) -> None:
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}.tmp")
    try:
        _fill(temporary, text, mode)
        if overwrite:
            os.replace(temporary, path)
        else:
            os.link(temporary, path)
            temporary.unlink()
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(path.parent)


def _fill(temporary: Path, text: bytes, mode: int) -> None:
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        left = memoryview(text)
        while left:
            left = left[os.write(descriptor, left) :]
        os.fchmod(descriptor, mode)  # not subject to the umask: a runtime under another user reads it
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sweep(path: Path, clock: Clock) -> None:
    """Remove what dead processes left of this name."""
    prefix = f".{path.name}."
    with os.scandir(path.parent) as entries:
        for entry in entries:
            if entry.name.startswith(prefix) and entry.name.endswith(".tmp"):
                with contextlib.suppress(FileNotFoundError):
                    if clock.wall_s() - entry.stat(follow_symlinks=False).st_mtime > _ABANDONED_S:
                        os.unlink(entry.path)
