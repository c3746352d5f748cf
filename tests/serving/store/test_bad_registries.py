"""A registry that lies, stalls, breaks off, is busy or restarts: what is right is fetched once and verified, what is
wrong is named and never kept, and nobody waits longer than the settings say."""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fairlead.serving.store import landing, upload
from fairlead.serving.store.artifacts import Pushing, Request, open_repository, pull_model, push_model
from fairlead.serving.store.errors import BadArtifact, Denied, NotFound, StoreError, Unreachable, WrongContent
from fairlead.serving.store.logins import Login, Logins
from fairlead.serving.store.progress import Silent
from fairlead.serving.store.pull import Pulled
from fairlead.serving.store.push import Pushed
from fairlead.serving.store.references import parse_reference
from fairlead.serving.store.repository import Cancel
from serving.store.conftest import LiveRegistry
from serving.store.models import QUICK, contents, write_model
from serving.store.proxy import Fault, Proxy, proxying

pytestmark = pytest.mark.xdist_group("docker-registry")
WEIGHTS = 3_000_000
BLOB = "GET .*/blobs/sha256"
PATIENT = replace(QUICK, silence_s=20.0)


@pytest.fixture(scope="module")
def model(registry: LiveRegistry, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that the registry has as bad/m:v1, with its weights as one layer."""
    folder = write_model(tmp_path_factory.mktemp("bad") / "m", (WEIGHTS,))
    push(folder, f"oci://{registry.host}/bad/m:v1", layout="whole")
    return folder


@pytest.fixture
def proxy(registry: LiveRegistry) -> Iterator[Proxy]:
    with proxying(registry.host) as found:
        yield found


def push(folder: Path, reference: str, settings: object = PATIENT, **how: object) -> Pushed:
    return push_model(Pushing(folder, parse_reference(reference), settings, **how), Silent(), Cancel())  # type: ignore[arg-type]


def pull(proxy: Proxy, target: Path, settings: object = PATIENT, name: str = "bad/m:v1") -> Pulled:
    return pull_model(
        Request(parse_reference(f"oci://{proxy.host}/{name}"), target, settings),  # type: ignore[arg-type]
        Silent(),
        Cancel(),
    )


def hidden(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


def weights_digest(registry: LiveRegistry) -> str:
    repository = open_repository(parse_reference(f"oci://{registry.host}/bad/m:v1"), QUICK, Cancel())
    layers = json.loads(repository.manifest("v1")[1])["layers"]
    return str(max(layers, key=lambda layer: layer["size"])["digest"])


@pytest.mark.parametrize(
    "fault",
    [
        Fault(BLOB, times=4, cut_after=1000),
        Fault(BLOB, times=4, cut_after=0),
        Fault(BLOB, times=2, status=503),
        Fault("/manifests/", times=2, status=500),
        Fault(BLOB, times=1, status=429, headers={"Retry-After": "0"}),
        Fault("/manifests/", times=1, status=429, headers={"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT"}),
        Fault(BLOB, times=1, edit={"Content-Length": "100"}),
    ],
    ids=["cut", "empty", "503", "500", "429", "429 with a date", "a length too small"],
)
def test_what_passes_is_tried_again(proxy: Proxy, model: Path, tmp_path: Path, fault: Fault) -> None:
    proxy.faults = [replace(fault)]
    pull(proxy, tmp_path / "out")
    assert proxy.faults[0].times == 0, "the fault was met"
    assert contents(tmp_path / "out") == contents(model) and hidden(tmp_path) == []


def test_a_broken_download_goes_on_where_it_was(
    proxy: Proxy, registry: LiveRegistry, model: Path, tmp_path: Path
) -> None:
    proxy.faults = [Fault(f"GET .*{weights_digest(registry)}", times=2, cut_after=2_000_000)]
    pulled = pull(proxy, tmp_path / "out")
    assert proxy.faults[0].times == 0
    # 2,000,000 bytes, then the rest: the second cut came after the end.
    assert pulled.bytes == pulled.total_bytes and proxy.down < pulled.total_bytes + 100_000


def test_a_registry_that_stalls_is_left_in_time_and_resumed(proxy: Proxy, model: Path, tmp_path: Path) -> None:
    settings = replace(QUICK, silence_s=0.5)
    proxy.faults = [Fault(BLOB, times=2, stall_after=100)]
    began_s = time.monotonic()
    pull(proxy, tmp_path / "out", settings)
    assert contents(tmp_path / "out") == contents(model)
    proxy.faults = [Fault(BLOB, times=100, stall_after=0)]
    with pytest.raises(Unreachable, match="silent for too long"):
        pull(proxy, tmp_path / "never", settings)
    # Far above what is stated (attempts × silence, for each of a few layers), far below for ever.
    assert time.monotonic() - began_s < 60
    assert not (tmp_path / "never").exists()


def test_a_registry_that_crawls_is_left(registry: LiveRegistry, model: Path, tmp_path: Path) -> None:
    settings = replace(QUICK, silence_s=0.5, least_bytes_per_s=1e9)
    with (
        proxying(registry.host, pause_s=0.2) as proxy,
        pytest.raises(Unreachable, match=r"only \d+ bytes in"),
    ):
        pull(proxy, tmp_path / "out", settings)


LIES = {
    "another byte": Fault(BLOB, times=100, change=lambda body: body[:-1] + bytes([body[-1] ^ 1]) if body else body),
    "another range": Fault(BLOB, times=100, change=lambda body: body[1:] + b"x" if body else body),
}


@pytest.mark.parametrize("fault", LIES.values(), ids=LIES.keys())
def test_a_registry_that_lies_is_named_and_nothing_stays(
    proxy: Proxy, model: Path, tmp_path: Path, fault: Fault
) -> None:
    proxy.faults = [replace(fault)]
    with pytest.raises(WrongContent, match="turned out to be"):
        pull(proxy, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    proxy.faults = []
    pull(proxy, tmp_path / "out")
    assert contents(tmp_path / "out") == contents(model) and hidden(tmp_path) == []


def test_a_manifest_that_is_not_its_digest_is_refused(proxy: Proxy, model: Path, tmp_path: Path) -> None:
    proxy.faults = [Fault("GET .*/manifests/", times=1, change=lambda body: body.replace(b"raw", b"wra"))]
    with pytest.raises(WrongContent, match="not to be trusted"):
        pull(proxy, tmp_path / "out")
    # With the header changed too it is another artifact, and so not what a digest asks for.
    repository = open_repository(parse_reference(f"oci://{proxy.host}/bad/m:v1"), QUICK, Cancel())
    digest = repository.manifest("v1")[0].digest
    change = Fault(
        "GET .*/manifests/", change=lambda body: body.replace(b"raw", b"wra"), edit={"Docker-Content-Digest": None}
    )
    proxy.faults = [change]
    with pytest.raises(WrongContent, match=digest):
        repository.manifest(digest)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>Please log in</html>", "not an OCI manifest"),
        (b'{"schemaVersion": 1, "name": "m", "fsLayers": []}', "not an OCI manifest"),
        (b'{"schemaVersion":2,"config":{"mediaType":"a","digest":"md5:0","size":1}}', "no sha256 digest"),
        (b'{"schemaVersion":2,"config":{"mediaType":"a","digest":"sha256:' + b"0" * 64 + b'","size":-1}}', "negative"),
    ],
    ids=["a page", "schema 1", "another digest", "a negative size"],
)
def test_what_is_no_manifest_is_said_to_be_none(proxy: Proxy, tmp_path: Path, body: bytes, words: str) -> None:
    proxy.faults = [Fault("/manifests/", status=200, body=body, headers={"Content-Type": "text/html"})]
    with pytest.raises(BadArtifact, match=words):
        pull(proxy, tmp_path / "out")


def test_a_manifest_without_end_is_not_read(proxy: Proxy, tmp_path: Path) -> None:
    proxy.faults = [Fault("/manifests/", status=200, body=b" " * (17 << 20))]
    with pytest.raises(StoreError, match="longer than 16777216 bytes"):
        pull(proxy, tmp_path / "out")


def test_ranges_that_lie_or_are_not_served(
    proxy: Proxy, registry: LiveRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landing, "SEGMENT_BYTES", 256 << 10)
    model = write_model(tmp_path / "m", (WEIGHTS,), seed=5)
    push(model, f"oci://{registry.host}/bad/ranges:v1", layout="whole")
    pull(proxy, tmp_path / "first", name="bad/ranges:v1")
    assert proxy.count(BLOB) > 10, "the weights came in ranges"
    # As a registry that does not know ranges: all of the blob, with status 200.
    proxy.faults = [Fault(BLOB, times=1000, without="Range")]
    pull(proxy, tmp_path / "whole", name="bad/ranges:v1")
    assert contents(tmp_path / "whole") == contents(model)
    proxy.faults = [Fault(BLOB, times=1000, edit={"Content-Range": "bytes 5-9/10"})]
    with pytest.raises(WrongContent):
        pull(proxy, tmp_path / "second", name="bad/ranges:v1")
    proxy.faults = [Fault(BLOB, times=1000, edit={"Content-Range": None})]
    pull(proxy, tmp_path / "third", name="bad/ranges:v1")
    assert contents(tmp_path / "third") == contents(model)


def test_a_layer_shorter_than_promised_is_the_registrys_fault(proxy: Proxy, model: Path, tmp_path: Path) -> None:
    proxy.faults = [Fault(BLOB, times=1000, change=lambda body: body[:-10])]
    began = proxy.count("")
    with pytest.raises(StoreError):
        pull(proxy, tmp_path / "out")
    assert proxy.count("") - began < 100 and not (tmp_path / "out").exists()


def test_a_registry_whose_disk_lost_bytes_is_named(registry: LiveRegistry, tmp_path: Path) -> None:
    model = write_model(tmp_path / "m", (WEIGHTS,), seed=6)
    name = f"oci://{registry.host}/bad/torn:v1"
    push(model, name, layout="whole")
    wanted = parse_reference(name)
    repository = open_repository(wanted, QUICK, Cancel())
    layer = max(json.loads(repository.manifest("v1")[1])["layers"], key=lambda layer: layer["size"])
    (data,) = registry.storage.rglob(f"blobs/sha256/*/{layer['digest'][7:]}/data")
    os.truncate(data, 1000)
    with pytest.raises(WrongContent, match="its storage is damaged"):
        pull_model(Request(wanted, tmp_path / "out", QUICK), Silent(), Cancel())
    with pytest.raises(WrongContent, match="remove the blob there, and push again"):
        push(model, name, layout="whole")
    assert not (tmp_path / "out").exists()


def test_redirects_are_followed_to_an_end(proxy: Proxy, registry: LiveRegistry, model: Path, tmp_path: Path) -> None:
    away = {"Location": f"http://{registry.host}/v2/bad/m/blobs/{weights_digest(registry)}"}
    proxy.faults = [Fault(f"GET .*{weights_digest(registry)}", status=307, headers=away)]
    pull(proxy, tmp_path / "out", replace(PATIENT, logins=Logins(fixed=Login("me", "secret"))))
    assert contents(tmp_path / "out") == contents(model)
    proxy.faults = [Fault("", times=1000, status=302, headers={"Location": "/v2/round"})]
    with pytest.raises(Unreachable, match="sends on more than"):
        pull(proxy, tmp_path / "never")
    assert proxy.faults[0].times > 900


def test_a_redirect_without_a_target_is_no_answer(proxy: Proxy, tmp_path: Path) -> None:
    proxy.faults = [Fault("", times=10, status=302)]
    with pytest.raises(StoreError, match="302"):
        pull(proxy, tmp_path / "out")


def test_busy_for_longer_than_is_waited(proxy: Proxy, tmp_path: Path) -> None:
    proxy.faults = [Fault("", times=1000, status=429, headers={"Retry-After": "86400"})]
    began_s = time.monotonic()
    with pytest.raises(StoreError, match="429"):
        pull(proxy, tmp_path / "out")
    assert time.monotonic() - began_s < 30, "a day was asked for, 0.2 s is the most that is obeyed"


def test_the_first_answer_of_two_statuses_is_not_believed(proxy: Proxy, tmp_path: Path) -> None:
    for status, error in ((404, NotFound), (403, Denied), (401, Denied)):
        proxy.faults = [Fault("", times=10, status=status)]
        with pytest.raises(error):
            pull(proxy, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "fault",
    [
        Fault("PATCH", times=2, cut_upload_after=100_000),
        Fault("PATCH", times=2, lose_answer=True),
        Fault("PUT .*/blobs/", times=2, cut_upload_after=10_000),
        Fault("PUT .*/blobs/", times=2, lose_answer=True),
        Fault("POST", times=2, lose_answer=True),
        Fault("PATCH", times=2, status=503),
        Fault("PATCH", times=1, status=416),
        Fault("PUT .*/manifests/", times=2, lose_answer=True),
        Fault("HEAD", times=2, status=502),
    ],
    ids=["cut", "lost", "last cut", "last lost", "begin lost", "503", "416", "manifest lost", "502"],
)
def test_a_push_gets_through(
    proxy: Proxy, registry: LiveRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Fault
) -> None:
    monkeypatch.setattr(upload, "PIECE_BYTES", 1 << 20)
    seed = zlib.crc32(repr(fault).encode())
    model = write_model(tmp_path / "m", (WEIGHTS,), seed=seed)
    proxy.faults = [replace(fault)]
    name = f"bad/push{seed}:v1"
    pushed = push(model, f"oci://{proxy.host}/{name}", layout="whole", threads=1)
    assert proxy.faults[0].times == 0, "the fault was met"
    # Each fault costs the piece that it hit, never the whole of the weights.
    assert proxy.up < pushed.total_bytes + 2.2 * (1 << 20) + 20_000
    proxy.faults = []
    pull(proxy, tmp_path / "out", name=name)
    assert contents(tmp_path / "out") == contents(model)


def test_an_upload_whose_last_answer_was_lost_is_not_sent_again(
    proxy: Proxy, tmp_path: Path, registry: LiveRegistry
) -> None:
    model = write_model(tmp_path / "m", (WEIGHTS,), seed=77)
    proxy.faults = [Fault("PUT .*/blobs/", times=100, lose_answer=True)]
    pushed = push(model, f"oci://{proxy.host}/bad/lost:v1", layout="whole")
    assert proxy.up < pushed.total_bytes + 20_000


def test_a_registry_without_patience_for_large_layers(proxy: Proxy, tmp_path: Path) -> None:
    model = write_model(tmp_path / "m", seed=9)
    proxy.faults = [Fault("PUT .*/blobs/", times=100, status=413, body=b'{"errors":[{"code":"SIZE_INVALID"}]}')]
    with pytest.raises(StoreError, match=r"413 \(SIZE_INVALID\)"):
        push(model, f"oci://{proxy.host}/bad/small:v1")
