"""One blob into a registry: mounted if it can be, at once if it is small, in resumable pieces if it is large."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import quote, urlencode, urljoin

from fairlead.kube.backoff import Backoff
from fairlead.serving.store.errors import NotFound, StoreError, Unreachable, WrongContent
from fairlead.serving.store.oci import Descriptor
from fairlead.serving.store.repository import Source
from fairlead.serving.store.requests import Body, Failed, Reply, Requests
from fairlead.serving.store.sessions import Sessions

PIECE_BYTES = 64 << 20
"""The most that one request carries, so that a cut connection or a kill costs at most this much."""
_OCTETS = {"Content-Type": "application/octet-stream"}


class Upload:
    """The upload of one blob, used once. `moved` is told how much more the registry has (less, if it lost some)."""

    def __init__(
        self,
        requests: Requests,
        root: str,
        descriptor: Descriptor,
        source: Source,
        moved: Callable[[int], None],
        sessions: Sessions | None,
    ) -> None:
        self._requests, self._root, self._descriptor, self._source = requests, root, descriptor, source
        self._moved, self._sessions = moved, sessions if descriptor.size > PIECE_BYTES else None
        self._url = ""
        self._at = 0
        self._sent = 0

    def run(self, mount_from: str = "") -> int:
        """Push the blob; how many bytes were sent, 0 if it was mounted from another repository.

        A failed piece is tried again from where the registry says it is, as long as anything moves; as many failures
        in a row without progress as the settings' `attempts` give up. Raises WrongContent if the registry does not find
        the digest in what it got.
        """
        if not self._recall() and not self._begin(mount_from):
            self._moved(self._descriptor.size)
            return 0
        settings = self._requests.settings
        backoff = Backoff(first_s=settings.first_wait_s, max_s=settings.longest_wait_s)
        failures, best = 0, self._at
        while not self._finished_piece():
            if self._error is None:
                continue
            failures = failures + 1 if self._at <= best else 1
            best = max(best, self._at)
            if failures >= settings.attempts or self._is_final(self._error):
                raise self._error
            self._requests.cancel.sleep(backoff.delay_s(failures))
            if not self._ask_where():
                if self._is_there():
                    break
                self._begin("")
        if self._sessions is not None:
            self._sessions.forget(self._root, self._descriptor.digest)
        return self._sent

    def _finished_piece(self) -> bool:
        """Send the next piece; whether it was the last one. A failure is left in `_error`."""
        self._error: StoreError | None = None
        try:
            return self._send_piece()
        except (Unreachable, Failed, NotFound) as error:
            self._error = error
            return False

    def _send_piece(self) -> bool:
        descriptor = self._descriptor
        left = descriptor.size - self._at
        size = min(left, PIECE_BYTES)
        body = Body(self._source, self._at, size)
        headers = (
            _OCTETS if size == descriptor.size else {**_OCTETS, "Content-Range": f"{self._at}-{self._at + size - 1}"}
        )
        if size == left:
            # The digest completes the upload; it may come with the last bytes.
            separator = "&" if "?" in self._url else "?"
            url = f"{self._url}{separator}digest={quote(descriptor.digest, safe='')}"
            self._requests.call(
                "PUT", url, (200, 201, 204), headers=headers if size else _OCTETS, body=body, attempts=1
            )
        else:
            reply = self._requests.call("PATCH", self._url, (202,), headers=headers, body=body, attempts=1)
            self._url = _location(reply, self._url)
            if self._sessions is not None:
                self._sessions.remember(self._root, descriptor.digest, self._url)
        self._sent += size
        self._move_to(self._at + size)
        return size == left

    def _begin(self, mount_from: str) -> bool:
        """Open an upload; False: the registry had the blob in another repository and mounted it."""
        query = f"?{urlencode({'mount': self._descriptor.digest, 'from': mount_from})}" if mount_from else ""
        url = f"{self._root}/blobs/uploads/"
        reply = self._requests.call("POST", url + query, (201, 202))
        if reply.status == 201 and mount_from:
            return False
        self._url = _location(reply, url)
        self._move_to(0)
        return True

    def _recall(self) -> bool:
        """Take up an upload that an earlier process began; False: there is none that the registry still knows."""
        if self._sessions is None:
            return False
        self._url = self._sessions.recall(self._root, self._descriptor.digest)
        if self._url and self._ask_where():
            return True
        self._sessions.forget(self._root, self._descriptor.digest)
        return False

    def _ask_where(self) -> bool:
        """How far the registry is; False: it no longer knows the upload, or has nothing of it."""
        try:
            reply = self._requests.call("GET", self._url, (200, 202, 204))
        except StoreError:
            return False
        # "0-0" is both nothing and one byte; beginning anew costs one byte at most.
        said = re.match(r"(?:bytes=)?0-(\d+)", reply.headers.get("range", ""))
        at = int(said.group(1)) + 1 if said and int(said.group(1)) else 0
        if not 0 < at <= self._descriptor.size:
            return False
        self._url = _location(reply, self._url)
        self._move_to(at)
        return True

    def _is_there(self) -> bool:
        """Whether the registry has the blob: it may have taken the last piece without our hearing of it."""
        try:
            self._requests.call("HEAD", f"{self._root}/blobs/{self._descriptor.digest}", (200,))
        except NotFound:
            return False
        self._sent += self._descriptor.size - self._at
        self._move_to(self._descriptor.size)
        return True

    def _move_to(self, at: int) -> None:
        if at != self._at:
            self._moved(at - self._at)
        self._at = at

    def _is_final(self, error: StoreError) -> bool:
        """Whether trying again cannot help. Raises WrongContent where the content is to blame."""
        if not isinstance(error, Failed):
            return False
        if error.status == 400 and "DIGEST" in str(error).upper():
            raise WrongContent(
                f"the registry did not get what {self._descriptor.digest} promises ({error}); "
                "was the file changed during the push?"
            ) from error
        return error.status in (405, 413, 501)


def _location(reply: Reply, asked: str) -> str:
    location = reply.headers.get("location")
    if not location:
        raise StoreError(f"{asked}: the registry does not say where the upload goes on (no Location header)")
    return urljoin(asked, location)
