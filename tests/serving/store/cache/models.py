"""Small models on disk, and caches for them, for tests."""

from __future__ import annotations

import asyncio
from pathlib import Path

from fairlead.clock import VirtualClock
from fairlead.serving.store.cache.cache import ModelCache
from fairlead.serving.store.cache.fetch import fetch_model
from fairlead.serving.store.cache.wanted import Fetched, Wanted


def model(folder: Path, size: int = 100_000, word: str = "a") -> str:
    """A model of about so many bytes; its source."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(f'{{"of": "{word}"}}')
    (folder / "model.safetensors").write_bytes((word.encode() * size)[:size])
    return str(folder)


async def fetched(cache: ModelCache, source: str, uid: str = "", **settings: str) -> Fetched:
    return await fetch_model(cache, Wanted(source, uid=uid), settings, clock=cache.clock)


def fetch_now(cache: ModelCache, source: str, uid: str = "") -> Fetched:
    return asyncio.run(fetched(cache, source, uid))


def cache_at(root: Path, capacity: int | None = None, clock: VirtualClock | None = None) -> ModelCache:
    return ModelCache(root, capacity, clock=clock or VirtualClock())
