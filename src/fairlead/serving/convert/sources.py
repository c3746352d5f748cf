"""Where KServe finds a model, as a source and a delivery of ours.

Source: `pkg/apis/serving/v1alpha1/storage_uri_utils.go`, `docs/samples/storage` and `python/storage` of KServe 0.20.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from fairlead.serving.convert.report import Severity, Unconvertible

_TAKEN = ("hf", "s3", "gs", "pvc", "http", "https", "oci", "file")
_HF = re.compile(r"hf://(?P<name>[^:@]+)(?:[:@](?P<revision>.+))?\Z")
_AZURE = re.compile(r"https://[^/]+\.blob\.core\.windows\.net/")
_LONGEST = 2048


@dataclass(frozen=True, slots=True)
class Place:
    """`source` and `delivery` of a model; `said` is what a person has to know of them."""

    source: str
    delivery: str = "Auto"
    said: tuple[tuple[Severity, str], ...] = field(default=())

    def to_json(self) -> dict[str, str]:
        return {"source": self.source, **({"delivery": self.delivery} if self.delivery != "Auto" else {})}


def place(uri: str, at: str) -> Place:
    """`at` is the field of the foreign object. Raises Unconvertible for what nothing here can load."""
    uri = uri.strip()
    if len(uri) > _LONGEST - 16:
        raise Unconvertible(at, uri, f"a source has at most {_LONGEST} characters: give the model a shorter address")
    scheme, separator, rest = uri.partition("://")
    if not separator:
        return _path(uri, at)
    if scheme in ("oci+native", "oci+fetch"):
        delivery = "ImageVolume" if scheme == "oci+native" else "Fetch"
        return Place(f"oci://{rest}", delivery)
    if scheme == "hf" and (found := _HF.match(uri)):
        revision = found["revision"]
        return Place(f"hf://{found['name']}" + (f"@{revision}" if revision else ""))
    if scheme not in _TAKEN or not rest:
        raise Unconvertible(
            at, uri, f"nothing here loads {scheme}://; there are {', '.join(f'{s}://' for s in _TAKEN)}: copy the "
            "model there (fairlead model push takes a folder to a registry)",
        )  # fmt: skip
    if _AZURE.match(uri):
        why = "Azure's storage is read as a plain https:// download of one file: a folder has to be copied elsewhere"
        return Place(uri, said=((Severity.ATTENTION, why),))
    if scheme == "oci":
        why = (
            "a sidecar with the model's image is not needed: an image volume is mounted where the cluster serves "
            "them, else the image is fetched into the node's cache"
        )
        return Place(uri, said=((Severity.CHANGED, why),))
    return Place(uri)


def _path(uri: str, at: str) -> Place:
    if uri.startswith("/"):
        return Place(uri)
    raise Unconvertible(
        at, uri, "a path has to be absolute, and the same on every node or in the engine's image: write /… or a URL"
    )
