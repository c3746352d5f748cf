"""The node's record of prepared claims on disk: whole or not at all, and checked when it is read.

The file is `dra_manager_state` in the node's folder, as the kubelet calls its own: JSON of `version`, `data` (the
claims, themselves JSON text) and `checksum` (SHA-256 of `data`).
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from pathlib import Path

import msgspec

from fairlead.embedded.agent.dra.state import ClaimRecord, Claims
from fairlead.embedded.agent.shim.main import write_durably

FILE_NAME = "dra_manager_state"
_VERSION = "v1"


class CheckpointError(Exception):
    """The record cannot be read; the message names the file and what is wrong with it."""


class _Content(msgspec.Struct):
    version: str
    checksum: str
    data: str


class Checkpoint:
    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE_NAME

    def load(self) -> dict[str, ClaimRecord]:
        """Claim uid -> record; empty where there is no file. Raises CheckpointError."""
        try:
            content = msgspec.json.decode(self.path.read_bytes(), type=_Content)
            if content.version != _VERSION:
                raise CheckpointError(f'{self.path}: version "{content.version}" is not known, expected {_VERSION}')
            if content.checksum != _checksum(content.data):
                raise CheckpointError(f"{self.path}: the checksum does not fit the content")
            records = msgspec.json.decode(content.data, type=list[ClaimRecord])
        except FileNotFoundError:
            return {}
        except (OSError, msgspec.MsgspecError) as error:
            raise CheckpointError(f"{self.path}: {error}") from error
        return {record.uid: record for record in records}

    def save(self, claims: Claims) -> None:
        """Raises OSError, with the former content untouched."""
        data = msgspec.json.encode(sorted(claims.values(), key=lambda record: record.uid)).decode()
        write_durably(str(self.path), {"version": _VERSION, "data": data, "checksum": _checksum(data)})

    def replace_damaged(self, claims: Claims) -> Path:
        """Keep a copy of a damaged file for a person to look at, and write `claims` in its place.

        Where that cannot be done the damaged file stays, so that the next agent comes here again.
        """
        aside = self.path.with_name(f"{FILE_NAME}.damaged")
        with contextlib.suppress(OSError):
            shutil.copyfile(self.path, aside)
            self.save(claims)
        return aside


def _checksum(data: str) -> str:
    return hashlib.sha256(data.encode()).hexdigest()
