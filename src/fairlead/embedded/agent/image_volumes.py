"""Image volumes: OCI images with a model, pulled by `fairlead model fetch` and shown to a pod as hard links.

What is pulled is kept once for all pods of a node, in a model cache, and read-only for containers. Of an image there
are the files below `models/`, where images for this purpose have them; nothing else is made of it.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

MODELS = "models"
FETCH = (sys.executable, "-m", "fairlead.cli.main", "model", "fetch")
_ASK = {"Always": "always", "IfNotPresent": "missing", "Never": "never"}
_MESSAGE_BYTES = 1000


class PullError(Exception):
    """The image cannot be had; the message says why."""


class ImagePuller:
    """The images of a node, below `folder`. `fetch` is the program that pulls."""

    def __init__(self, folder: Path, fetch: Sequence[str] = FETCH) -> None:
        self._folder, self._fetch = folder, fetch

    async def mount(self, reference: str, policy: str, logins: Sequence[bytes], target: Path) -> None:
        """Makes `target` the content of an image, unless it is that already. `logins`: pull secrets' content.

        Raises PullError, OSError.
        """
        if await asyncio.to_thread(target.exists):
            return
        folder = target.with_name(f"..login-{secrets.token_hex(4)}")
        credentials = await asyncio.to_thread(_write_logins, folder, logins)
        try:
            path = await self._pull(reference, policy, credentials)
        finally:
            await asyncio.to_thread(shutil.rmtree, credentials, True)
        await asyncio.to_thread(_link_all, path, target)

    async def _pull(self, reference: str, policy: str, credentials: Path) -> Path:
        """Where the image's files are in the cache."""
        process = await asyncio.create_subprocess_exec(
            *self._fetch, f"oci://{reference}", "--cache", str(self._folder), "--credentials", str(credentials),
            "--ask", _ASK.get(policy, "missing"), "--uid", "", "--quiet",
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            out, said = await process.communicate()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
        if process.returncode != 0:
            why = said[-_MESSAGE_BYTES:].decode(errors="replace").strip().removeprefix("fairlead model fetch: ")
            raise PullError(f'failed to pull and unpack image "{reference}": {why or f"status {process.returncode}"}')
        return Path(out.decode().strip().partition(" ")[2])


def merge_logins(logins: Sequence[bytes]) -> Mapping[str, object]:
    """Several `.dockerconfigjson` as one, earlier ones first. Those that cannot be read are passed over, as a kubelet
    does."""
    merged: dict[str, object] = {}
    for raw in logins:
        try:
            auths = json.loads(raw).get("auths", {})
            merged = {**auths, **merged}
        except (ValueError, AttributeError, TypeError):
            continue
    return {"auths": merged}


def _write_logins(folder: Path, logins: Sequence[bytes]) -> Path:
    folder.mkdir(mode=0o700, parents=True)
    if logins:
        path = folder / ".dockerconfigjson"
        path.touch(mode=0o600)
        path.write_text(json.dumps(merge_logins(logins)))
    return folder


def _link_all(source: Path, target: Path) -> None:
    """`target/models` with a hard link of every file, whole or not there: the files stay as long as any pod has them,
    whatever leaves the cache."""
    fresh = target.with_name(f"..image-{secrets.token_hex(4)}")
    models = fresh / MODELS
    models.mkdir(parents=True)
    if source.is_file():
        os.link(source, models / source.name)
    else:
        for folder, _, names in os.walk(source):
            place = models / Path(folder).relative_to(source)
            place.mkdir(exist_ok=True)
            for name in names:
                os.link(os.path.join(folder, name), place / name)
    os.rename(fresh, target)
