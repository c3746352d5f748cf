"""A repository of an OCI registry (distribution specification 1.1)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from urllib.parse import urlencode, urljoin

from fairlead.serving.store import oci
from fairlead.serving.store.connections import Pool, Settings, origin
from fairlead.serving.store.errors import BadArtifact, NotFound, StoreError, WrongContent
from fairlead.serving.store.oci import Descriptor, Index
from fairlead.serving.store.references import Reference
from fairlead.serving.store.repository import BUFFER_BYTES, Cancel, InMemory, Source
from fairlead.serving.store.requests import Body, Failed, Open, Requests
from fairlead.serving.store.sessions import Sessions
from fairlead.serving.store.upload import Upload

_MOST_PAGES = 1000


class RegistryRepository:
    """One repository over HTTP. `mount_from`: a repository of the same registry from which blobs may be taken."""

    def __init__(
        self,
        reference: Reference,
        settings: Settings,
        cancel: Cancel,
        *,
        mount_from: str = "",
        sessions: Sessions | None = None,
    ) -> None:
        self._pool = Pool(settings)
        cancel.tell(self._pool.abort)
        self._requests = Requests(self._pool, reference.host, reference.repository, cancel)
        self._reference, self._mount_from, self._sessions = reference, mount_from, sessions
        self._root = f"{self._requests.base}/v2/{reference.repository}"

    @property
    def name(self) -> str:
        return self._reference.place

    def close(self) -> None:
        self._pool.close()

    def manifest(self, selector: str) -> tuple[Descriptor, bytes]:
        try:
            reply = self._requests.call(
                "GET",
                f"{self._root}/manifests/{selector}",
                (200,),
                headers={"Accept": ", ".join(oci.MANIFESTS)},
                limit=oci.MANIFEST_LIMIT_BYTES,
            )
        except NotFound as error:
            # Registries say so as well of what the login may not see.
            raise NotFound(
                f"{self._reference.at()} has no {selector}, or this login may not see it ({error}); "
                f"fairlead model list {self._reference.at()} says what it has"
            ) from error
        digest = oci.digest_of(reply.body)
        promised = selector if oci.is_digest(selector) else reply.headers.get("docker-content-digest", digest)
        if oci.is_digest(promised) and promised != digest:
            raise WrongContent(
                f"{self.name}: the registry gave a manifest of {digest} for {promised}; it is not to be trusted"
            )
        media_type = reply.headers.get("content-type", "").partition(";")[0].strip() or oci.MANIFEST
        return Descriptor(media_type=media_type, digest=digest, size=len(reply.body)), reply.body

    def put_manifest(self, raw: bytes, media_type: str, tag: str = "") -> Descriptor:
        digest = oci.digest_of(raw)
        reply = self._requests.call(
            "PUT",
            f"{self._root}/manifests/{tag or digest}",
            (200, 201),
            headers={"Content-Type": media_type},
            body=Body(InMemory(raw), 0, len(raw)),
        )
        if (said := reply.headers.get("docker-content-digest", digest)) != digest:
            raise WrongContent(f"{self.name}: the registry stored the manifest {digest} as {said}")
        stored = Descriptor(media_type=media_type, digest=digest, size=len(raw))
        if media_type == oci.MANIFEST and "oci-subject" not in reply.headers:
            self._list_as_referrer(stored, raw)
        return stored

    def has_blob(self, descriptor: Descriptor) -> bool:
        try:
            reply = self._requests.call("HEAD", f"{self._root}/blobs/{descriptor.digest}", (200,))
        except NotFound:
            return False
        # Registries are free to leave the length out of a HEAD's answer.
        said = reply.headers.get("content-length", "")
        if said.isdecimal() and int(said) not in (0, descriptor.size):
            raise WrongContent(
                f"{self.name}: the registry has {said} bytes as {descriptor.digest}, which is {descriptor.size} bytes: "
                "its storage is damaged; remove the blob there, and push again"
            )
        return True

    def open_blob(self, descriptor: Descriptor, start: int, end: int) -> Open:
        whole = start == 0 and end == descriptor.size
        headers = {} if whole else {"Range": f"bytes={start}-{end - 1}"}
        try:
            url = f"{self._root}/blobs/{descriptor.digest}"
            response = self._requests.open("GET", url, (200, 206), headers=headers)
        except Failed as error:
            if error.status != 416:
                raise
            raise WrongContent(
                f"{self.name}: what the registry has as {descriptor.digest} ends before byte {start}, "
                f"though it is {descriptor.size} bytes: its storage is damaged"
            ) from error
        try:
            self._seek(response, start)
        except BaseException:
            response.close()
            raise
        return response

    def put_blob(self, descriptor: Descriptor, source: Source, moved: Callable[[int], None]) -> int:
        upload = Upload(self._requests, self._root, descriptor, source, moved, self._sessions)
        return upload.run(self._mount_from)

    def tags(self) -> list[str]:
        found: list[str] = []
        try:
            for body in self._pages(f"{self._root}/tags/list?n=1000"):
                found += _string_list(body, "tags", self.name)
        except NotFound as error:
            raise NotFound(f"there is no repository {self.name}, or this login may not see it ({error})") from error
        return sorted(set(found))

    def delete(self, selector: str) -> None:
        try:
            self._requests.call("DELETE", f"{self._root}/manifests/{selector}", (200, 202))
        except Failed as error:
            if error.status in (400, 405) and not oci.is_digest(selector):
                raise StoreError(
                    f"{self.name}: the registry cannot take off a tag alone ({error}); "
                    "deleting the digest takes all its tags"
                ) from error
            if error.status == 405:
                raise StoreError(f"{self.name}: the registry has deletion switched off ({error})") from error
            raise

    def referrers(self, digest: str, artifact_type: str = "") -> list[Descriptor]:
        query = f"?{urlencode({'artifactType': artifact_type})}" if artifact_type else ""
        try:
            pages = list(self._pages(f"{self._root}/referrers/{digest}{query}"))
        except NotFound:
            pages = [raw] if (raw := self._referrers_by_tag(digest)) is not None else []
        found = [d for page in pages for d in oci.decode_index(page, f"{self.name}: referrers of {digest}").manifests]
        return [d for d in found if not artifact_type or d.artifact_type == artifact_type]

    def _seek(self, response: Open, start: int) -> None:
        """Bring a response to `start`, whatever range the registry chose to send."""
        at = 0
        if response.status == 206:
            said = re.match(r"bytes (\d+)-", response.answer.headers.get("Content-Range", ""))
            at = int(said.group(1)) if said else start
        if at > start:
            raise WrongContent(f"{response.url}: asked from byte {start} on, the registry sent from {at} on")
        room = memoryview(bytearray(BUFFER_BYTES)) if at < start else memoryview(b"")
        while at < start:
            count = response.readinto(room[: min(len(room), start - at)])
            if count == 0:
                raise WrongContent(f"{response.url}: ends at byte {at}, before {start}")
            at += count

    def _pages(self, url: str) -> Iterator[bytes]:
        """The bodies of a listing, following `Link: <…>; rel="next"`."""
        home = origin(url)
        for _ in range(_MOST_PAGES):
            reply = self._requests.call("GET", url, (200,), limit=oci.MANIFEST_LIMIT_BYTES)
            yield reply.body
            link = re.search(r"<([^>]+)>\s*;[^,]*rel=\"?next", reply.headers.get("link", ""))
            if link is None:
                return
            url = urljoin(url, link.group(1))
            if origin(url) != home:
                raise BadArtifact(f"{self.name}: the registry continues its list at {url}, which is another host")
        raise BadArtifact(f"{self.name}: the registry's list has more than {_MOST_PAGES} pages")

    def _referrers_by_tag(self, digest: str) -> bytes | None:
        """For registries without the referrers API (distribution specification, "Referrers Tag Schema")."""
        try:
            return self.manifest(digest.replace(":", "-"))[1]
        except NotFound:
            return None

    def _list_as_referrer(self, stored: Descriptor, raw: bytes) -> None:
        manifest = oci.decode_manifest(raw, self.name)
        if manifest.subject is None:
            return
        listed = Descriptor(
            media_type=stored.media_type,
            digest=stored.digest,
            size=stored.size,
            annotations=manifest.annotations,
            artifact_type=manifest.artifact_type or manifest.config.media_type,
        )
        before = self._referrers_by_tag(manifest.subject.digest)
        others = oci.decode_index(before, self.name).manifests if before else []
        if any(d.digest == stored.digest for d in others):
            return
        index = oci.encode(Index(manifests=[*others, listed]))
        self.put_manifest(index, oci.INDEX, manifest.subject.digest.replace(":", "-"))


def _string_list(raw: bytes, key: str, where: str) -> list[str]:
    try:
        values = json.loads(raw).get(key) or []
    except (ValueError, AttributeError) as error:
        raise BadArtifact(f"{where}: the registry's list of {key} is no JSON object") from error
    return [value for value in values if isinstance(value, str)]
