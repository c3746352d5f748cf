"""Files of the Hugging Face hub, by plain HTTP, as its own tools are told to reach it: `HF_ENDPOINT`, `HF_TOKEN`."""

from __future__ import annotations

import os
import shutil
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO
from urllib.error import HTTPError, URLError

TIMEOUT_S = 20.0


class HubError(ValueError):
    """What could not be had of the hub, and why."""


def endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def cache_folder() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fairlead" / "bench" / "hub"


def own_cache() -> Path:
    """Where the hub's own tools keep what they have downloaded."""
    home = os.environ.get("HF_HOME") or str(Path.home() / ".cache" / "huggingface")
    return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub")


def read(url: str) -> bytes:
    """Raises HubError."""
    try:
        with _opened(url) as answer:
            return bytes(answer.read())
    except (OSError, ValueError) as error:
        raise _said(url, error) from None


def download(url: str, path: Path) -> Path:
    """To a file, where it is not there yet. Raises HubError."""
    if path.exists():
        return path
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _opened(url) as answer, beside.open("wb") as file:
            shutil.copyfileobj(answer, file, 2**20)
        beside.replace(path)
    except (OSError, ValueError) as error:
        beside.unlink(missing_ok=True)
        raise _said(url, error) from None
    return path


def _opened(url: str) -> AbstractContextManager[IO[bytes]]:
    # Imported here: most benchmarks ask no hub, and would keep 40 modules for it.
    from urllib.request import Request, urlopen

    request = Request(url, headers={"User-Agent": "fairlead"})
    # Not to other hosts: the hub leads to addresses of storage that are signed already.
    if (token := os.environ.get("HF_TOKEN")) and url.startswith(endpoint() + "/"):
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    opened: AbstractContextManager[IO[bytes]] = urlopen(request, timeout=TIMEOUT_S)
    return opened


def _said(url: str, error: Exception) -> HubError:
    if isinstance(error, HTTPError):
        remedy = {401: "set HF_TOKEN", 403: "set HF_TOKEN, and accept its terms", 404: "check the name"}
        return HubError(f"{url} answered {error.code}: {remedy.get(error.code, 'try again later')}")
    reason = error.reason if isinstance(error, URLError) else error
    return HubError(f"the hub cannot be reached at {url}: {reason}; use a local file, or set HF_ENDPOINT to a mirror")
