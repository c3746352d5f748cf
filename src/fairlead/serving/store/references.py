"""How artifacts are named: `oci://host/repository:tag@digest`, and `layout:///folder:tag` for an OCI layout on disk."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path

from fairlead.serving.store.errors import StoreError
from fairlead.serving.store.oci import is_digest

# The grammar of the OCI distribution specification, "Pulling manifests".
_NAME = re.compile(r"[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*\Z")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}\Z")
_HOST = re.compile(r"([A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(:\d{1,5})?\Z")


class BadReference(StoreError):
    """A text that names no artifact."""


@dataclass(frozen=True, slots=True)
class Reference:
    """An artifact in a registry (`host`, `repository`) or a layout (`folder`). The digest counts before the tag."""

    host: str = ""
    repository: str = ""
    folder: Path | None = None
    tag: str = ""
    digest: str = ""

    @property
    def selector(self) -> str:
        """What a manifest is asked for by: the digest, else the tag, else `latest`."""
        return self.digest or self.tag or "latest"

    def at(self, *, tag: str = "", digest: str = "") -> Reference:
        """Another artifact of the same repository."""
        return replace(self, tag=tag, digest=digest)

    @property
    def place(self) -> str:
        """The repository without tag and digest, as people write it."""
        return f"layout://{self.folder}" if self.folder is not None else f"oci://{self.host}/{self.repository}"

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{self.place}{tag}" + (f"@{self.digest}" if self.digest else "")


def is_tag(text: str) -> bool:
    """Whether a registry takes this as a tag."""
    return _TAG.match(text) is not None


def parse_reference(text: str) -> Reference:
    """A reference from what a person wrote; `oci://` may be left out where the host is unmistakable.

    A path (absolute, or with a dot first) is a layout. Raises BadReference.
    """
    if text.startswith("oci://"):
        return _registry(text, text.removeprefix("oci://"))
    if text.startswith("layout://"):
        return _layout(text, text.removeprefix("layout://"))
    if text.startswith(("/", "./", "../", "~")) or text == ".":
        return _layout(text, text)
    host, slash, _ = text.partition("/")
    if "://" not in text and slash and ("." in host or ":" in host or host == "localhost"):
        return _registry(text, text)
    if text.startswith(("http://", "https://", "docker://")):
        raise BadReference(f"{text!r} names no artifact: write oci://{text.partition('://')[2]} for a registry")
    raise BadReference(
        f"{text!r} names no artifact: write oci://host/repository:tag, or layout:///folder:tag for a folder on disk"
    )


def _registry(whole: str, text: str) -> Reference:
    host, slash, rest = text.partition("/")
    if not slash or not _HOST.match(host):
        raise BadReference(f"{whole!r}: {host!r} is no host; write oci://host/repository:tag")
    name, tag, digest = _split(whole, rest)
    if host == "docker.io":
        # Docker Hub keeps its API under another name, and puts names without an owner under library/.
        host, name = "registry-1.docker.io", name if "/" in name else f"library/{name}"
    if not _NAME.match(name):
        raise BadReference(
            f"{whole!r}: {name!r} is no repository name: lower-case letters, digits and . _ - / between them"
        )
    return Reference(host=host, repository=name, tag=tag, digest=digest)


def _layout(whole: str, text: str) -> Reference:
    name, tag, digest = _split(whole, text)
    if not name:
        raise BadReference(f"{whole!r}: no folder; write layout:///folder:tag")
    try:
        folder = Path(name).expanduser()
    except (RuntimeError, ValueError):  # there is no such user, or no such name could be
        owner = name.partition("/")[0]
        raise BadReference(
            f"{whole!r}: nobody here is {owner[1:]!r}; write ./{name} for a folder of that name"
        ) from None
    return Reference(folder=folder.absolute(), tag=tag, digest=digest)


def _split(whole: str, text: str) -> tuple[str, str, str]:
    name, at, digest = text.partition("@")
    if at and not is_digest(digest):
        raise BadReference(f"{whole!r}: {digest!r} is no digest: sha256: and 64 hexadecimal digits")
    head, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        return name, "", digest
    if not _TAG.match(tag):
        raise BadReference(f"{whole!r}: {tag!r} is no tag: at most 128 letters, digits and . _ -")
    return head, tag, digest
