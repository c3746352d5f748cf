"""From a source's URL to the source."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from fairlead.clock import SYSTEM, Clock
from fairlead.serving.store.sources.errors import BadSource
from fairlead.serving.store.sources.listing import Listing, Source, check_names
from fairlead.serving.store.sources.selection import select

if TYPE_CHECKING:
    from fairlead.serving.store.sources.http import Patience

SCHEMES = ("hf", "s3", "gs", "http", "https", "file")
_AT_COMMIT = re.compile(r"[@:][0-9a-f]{40}\Z")
_MAX_SETTING_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Choice:
    """Which files of a source are wanted; see `selection.select`."""

    format: str = ""
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()


def read_settings(environment: Mapping[str, str], credentials: Path | None = None) -> dict[str, str]:
    """The environment, and over it a folder of files as a mounted Secret is one: name -> content. Raises BadSource."""
    settings = dict(environment)
    if credentials is None:
        return settings
    try:
        for path in sorted(credentials.iterdir()):
            if not path.name.startswith("..") and path.is_file() and path.stat().st_size <= _MAX_SETTING_BYTES:
                settings[path.name] = path.read_text().rstrip("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BadSource(f"the credentials in {credentials} cannot be read: {error}") from error
    return settings


def open_source(
    url: str,
    settings: Mapping[str, str] = os.environ,
    *,
    choice: Choice | None = None,
    name: str = "",
    patience: Patience | None = None,
    clock: Clock = SYSTEM,
) -> Source:
    """The source that a URL names; close it after use.

    hf, s3 and gs URLs may end with `?include=PATTERN&exclude=PATTERN&format=FORMAT`, each repeatable. `name`: what a
    local folder is called in messages, for claims that are mounted there. Raises BadSource.
    """
    query = ""
    scheme, separator, rest = url.partition("://")
    if not separator:
        if not url.startswith("/"):
            raise BadSource(f"{url!r} is no source: write hf://, s3://, gs://, oci://, https://, or an absolute path")
        scheme, rest = "file", url
    if scheme in ("hf", "s3", "gs"):
        rest, query, choice = _choice_of(rest, choice or Choice(), url)
    choice = choice or Choice()
    if scheme == "file":
        from fairlead.serving.store.sources.local import Local

        return Chosen(Local(rest, name), choice, is_curated=True)
    from fairlead.serving.store.sources.http import HttpReader

    http = HttpReader(patience, clock)
    source: Source
    if scheme == "hf":
        from fairlead.serving.store.sources.hub import Hub

        source = Hub(rest, settings, http)
    elif scheme == "s3" or (scheme == "gs" and settings.get("AWS_ACCESS_KEY_ID") and _wants_hmac(settings)):
        from fairlead.serving.store.sources.s3 import S3

        if scheme == "gs":
            settings = {"AWS_ENDPOINT_URL": "https://storage.googleapis.com", "AWS_REGION": "auto", **settings}
        source = S3(rest, settings, http, clock)
    elif scheme == "gs":
        from fairlead.serving.store.sources.gcs import Gcs

        source = Gcs(rest, settings, http, clock)
    elif scheme in ("http", "https"):
        from fairlead.serving.store.sources.web import Web

        source = Web(url, settings, http)
    else:
        raise BadSource(f"{url!r}: nothing reads {scheme}://; there are {', '.join(SCHEMES)} and oci")
    return Chosen(source, choice, query, is_curated=scheme != "hf")


def is_exact(url: str) -> bool:
    """Whether the URL means one version for ever, so that nobody needs to be asked which."""
    scheme, _, rest = url.partition("://")
    if scheme == "hf":
        return bool(_AT_COMMIT.search(rest.partition("?")[0]))
    return scheme in ("oci", "http", "https") and ("@sha256:" in rest or "#sha256=" in rest)


class Chosen:
    """The wanted files of another source, their names checked."""

    def __init__(self, source: Source, choice: Choice, query: str = "", *, is_curated: bool) -> None:
        self._source, self._choice, self._query, self._is_curated = source, choice, query, is_curated
        self.read = source.read
        self.close = source.close

    @property
    def url(self) -> str:
        return self._source.url + (f"?{self._query}" if self._query else "")

    async def listing(self) -> Listing:
        listing = await self._source.listing()
        check_names(listing.files, self.url)
        if listing.exact and self._query:
            listing = replace(listing, exact=f"{listing.exact}?{self._query}")
        if listing.known_digest or len(listing.files) == 1:
            return listing
        choice = self._choice
        files = select(
            listing.files,
            format=choice.format,
            include=choice.include,
            exclude=choice.exclude,
            is_curated=self._is_curated,
        )
        return replace(listing, files=files)


def _wants_hmac(settings: Mapping[str, str]) -> bool:
    return settings.get("FAIRLEAD_GS_AUTH") == "hmac"


def _choice_of(rest: str, choice: Choice, url: str) -> tuple[str, str, Choice]:
    path, separator, query = rest.partition("?")
    if not separator:
        return rest, "", choice
    pairs = parse_qsl(query, keep_blank_values=True)
    unknown = [key for key, _ in pairs if key not in ("include", "exclude", "format")]
    if unknown:
        raise BadSource(f"{url}: {unknown[0]!r} means nothing here; there are include, exclude and format")
    given = {key: [v for k, v in pairs if k == key] for key in ("include", "exclude", "format")}
    return (
        path,
        query,
        Choice(
            (given["format"] or [choice.format])[-1],
            (*choice.include, *given["include"]),
            (*choice.exclude, *given["exclude"]),
        ),
    )
