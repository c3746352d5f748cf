"""The store against Debian's docker-registry, with skopeo as a second reader and writer: every form that is pushed
comes back byte for byte, layers are shared, logins and TLS work, tags are listed, moved and removed."""

from __future__ import annotations

import datetime
import json
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fairlead.serving.store import modelpack, oci
from fairlead.serving.store.artifacts import Pushing, Request, open_repository, pull_model, push_model
from fairlead.serving.store.catalog import copy, inspect, list_tags, prune, put_tag
from fairlead.serving.store.check import check_layers
from fairlead.serving.store.connections import Settings
from fairlead.serving.store.errors import Denied, NotFound, Unreachable
from fairlead.serving.store.logins import Login, Logins
from fairlead.serving.store.oci import Descriptor, Manifest
from fairlead.serving.store.progress import Silent
from fairlead.serving.store.pull import Options, resolve
from fairlead.serving.store.references import parse_reference
from fairlead.serving.store.repository import Cancel, InMemory
from patience import PATIENCE_S
from serving.store.conftest import LiveRegistry, start_registry, stop
from serving.store.models import QUICK, contents, tensors, write_model, write_safetensors

pytestmark = pytest.mark.xdist_group("docker-registry")
FORMS: list[dict[str, object]] = [
    {},
    {"layout": "whole"},
    {"tar": True},
    {"tar": True, "compression": "zstd"},
    {"form": "image"},
    {"form": "image", "compression": "zstd"},
]


@pytest.mark.parametrize("how", FORMS)
def test_what_is_pushed_comes_back(registry: LiveRegistry, tmp_path: Path, how: dict[str, object]) -> None:
    source = write_model(tmp_path / "m", (3_000_000, 100, 5_000_000))
    reference = parse_reference(f"oci://{registry.host}/forms/m{len(str(how))}:v1")
    pushed = push_model(Pushing(source, reference, **how), Silent(), Cancel())  # type: ignore[arg-type]
    pulled = pull_model(Request(reference, tmp_path / "out"), Silent(), Cancel())
    assert pulled.digest == pushed.digest and pulled.bytes == pulled.total_bytes
    assert contents(tmp_path / "out") == contents(source)
    again = push_model(Pushing(source, reference, **how), Silent(), Cancel())  # type: ignore[arg-type]
    assert (again.digest, again.sent_bytes, again.sent_blobs) == (pushed.digest, 0, 0)


def test_a_manifest_is_what_modelpack_says(registry: LiveRegistry, tmp_path: Path) -> None:
    source = write_model(tmp_path / "m")
    reference = parse_reference(f"oci://{registry.host}/pack/m:v1")
    push_model(Pushing(source, reference, layout="whole", given={"licenses": "MIT"}), Silent(), Cancel())
    with_repository = open_repository(reference, Settings(), Cancel())
    raw = json.loads(with_repository.manifest("v1")[1])
    assert raw["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert raw["artifactType"] == "application/vnd.cncf.model.manifest.v1+json"
    assert raw["config"]["mediaType"] == "application/vnd.cncf.model.config.v1+json"
    kinds = {layer["annotations"]["org.cncf.model.filepath"]: layer["mediaType"] for layer in raw["layers"]}
    assert kinds["model.safetensors"] == "application/vnd.cncf.model.weight.v1.raw"
    assert kinds["config.json"] == "application/vnd.cncf.model.weight.config.v1.raw"
    assert kinds["README.md"] == "application/vnd.cncf.model.doc.v1.raw"
    assert kinds["run.sh"] == "application/vnd.cncf.model.code.v1.raw"
    metadata = json.loads(raw["layers"][0]["annotations"]["org.cncf.model.file.metadata+json"])
    assert set(metadata) == {"name", "mode", "uid", "gid", "size", "mtime", "typeflag"}
    found = inspect(with_repository, "v1")
    assert found.config is not None
    assert found.config["modelfs"] == {"type": "layers", "diffIds": [layer["digest"] for layer in raw["layers"]]}
    assert found.config["descriptor"] == {"name": "m", "family": "llama", "licenses": ["MIT"]}
    assert found.config["config"] == {
        "architecture": "transformer",
        "format": "safetensors",
        "paramSize": "800K",
        "precision": "uint8",
    }


def test_a_changed_part_is_all_that_is_sent(registry: LiveRegistry, tmp_path: Path) -> None:
    sizes = [2 << 20, 4096, 1 << 20] * 10
    source = write_model(tmp_path / "m", sizes)
    old, new = (parse_reference(f"oci://{registry.host}/delta/m:{tag}") for tag in ("v1", "v2"))
    whole = push_model(Pushing(source, old), Silent(), Cancel())
    pull_model(Request(old, tmp_path / "old"), Silent(), Cancel())
    data = tensors(sizes, 1)
    data[15] = data[15][: 1 << 20] + bytes(300 << 10) + data[15][(1 << 20) + (300 << 10) :]
    # A longer header moves every tensor.
    write_safetensors(source / "model.safetensors", data, note="x" * 777)
    delta = push_model(Pushing(source, new), Silent(), Cancel())
    assert delta.sent_bytes <= 0.03 * whole.total_bytes, (delta, whole)
    request = Request(new, tmp_path / "new", options=Options(reuse=(tmp_path / "old",)))
    pulled = pull_model(request, Silent(), Cancel())
    assert contents(tmp_path / "new") == contents(source)
    assert pulled.bytes <= 0.03 * whole.total_bytes
    assert pulled.bytes + pulled.reused_bytes == pulled.total_bytes
    # The same folder again, its former content still at hand.
    replaced = pull_model(Request(new, tmp_path / "old"), Silent(), Cancel())
    assert replaced.bytes <= 0.03 * whole.total_bytes and contents(tmp_path / "old") == contents(source)


def test_blobs_are_taken_from_another_repository(registry: LiveRegistry, tmp_path: Path) -> None:
    source = write_model(tmp_path / "m", (3_000_000,))
    first, second = (parse_reference(f"oci://{registry.host}/mount/{name}:v1") for name in ("a", "b"))
    push_model(Pushing(source, first), Silent(), Cancel())
    pushed = push_model(Pushing(source, second, mount_from="mount/a"), Silent(), Cancel())
    assert pushed.sent_bytes == 0
    assert pull_model(Request(second, tmp_path / "out"), Silent(), Cancel()).digest == pushed.digest


def test_tags_are_listed_moved_and_pruned(registry: LiveRegistry, tmp_path: Path) -> None:
    place = f"oci://{registry.host}/tags/m"
    for i in range(12):
        source = write_model(tmp_path / f"m{i}", (1000,), seed=i)
        push_model(Pushing(source, parse_reference(f"{place}:v{i}")), Silent(), Cancel())
    repository = open_repository(parse_reference(place), QUICK, Cancel())
    assert put_tag(repository, "v3", "stable") == repository.manifest("v3")[0].digest
    assert [t.tag for t in list_tags(repository, 4, Cancel())][:4] == ["v11", "v10", "v9", "v8"]
    would = prune(repository, keep=2, pattern="v*", dry_run=True)
    assert len(would.removed) == 10 and len(repository.tags()) == 13
    done = prune(repository, keep=2, pattern="v*", dry_run=False)
    # v3 cannot lose its tag where a registry only deletes manifests: `stable` names the same one.
    assert set(repository.tags()) - {"v3"} == {"v11", "v10", "stable"}
    assert len(done.removed) + len(done.problems) == 10
    assert pull_model(Request(parse_reference(f"{place}:stable"), tmp_path / "out"), Silent(), Cancel()).files
    with pytest.raises(NotFound):
        repository.manifest("v1")


def test_referrers_are_found_without_the_api(registry: LiveRegistry, tmp_path: Path) -> None:
    reference = parse_reference(f"oci://{registry.host}/refer/m:v1")
    digest = push_model(Pushing(write_model(tmp_path / "m"), reference), Silent(), Cancel()).digest
    repository = open_repository(reference, QUICK, Cancel())
    subject = repository.manifest(digest)[0]
    repository.put_blob(oci.EMPTY_CONFIG, InMemory(b"{}"), lambda size: None)
    notes = []
    for text in ("one", "two"):
        manifest = Manifest(
            artifact_type=f"application/vnd.test.{text}",
            config=oci.EMPTY_CONFIG,
            layers=[oci.EMPTY_CONFIG],
            subject=Descriptor(media_type=subject.media_type, digest=subject.digest, size=subject.size),
            annotations={"text": text},
        )
        notes.append(repository.put_manifest(oci.encode(manifest), oci.MANIFEST))
    assert {d.digest for d in repository.referrers(digest)} == {d.digest for d in notes}
    (second,) = repository.referrers(digest, "application/vnd.test.two")
    assert second.digest == notes[1].digest and second.annotations == {"text": "two"}
    assert repository.referrers(notes[0].digest) == []


def test_copies_between_registry_and_layout_are_the_same(registry: LiveRegistry, tmp_path: Path) -> None:
    for form in ("modelpack", "image"):
        source = parse_reference(f"oci://{registry.host}/copy/{form}:v1")
        model = write_model(tmp_path / "m", (3_000_000,))
        digest = push_model(Pushing(model, source, form=form), Silent(), Cancel()).digest  # type: ignore[arg-type]
        layout = parse_reference(f"layout://{tmp_path}/{form}:v1")
        back = parse_reference(f"oci://{registry.host}/copy/{form}-back:v2")
        for origin, target in ((source, layout), (layout, back)):
            from_ = open_repository(origin, Settings(), Cancel())
            to = open_repository(target, Settings(), Cancel(), create=True)
            copied = copy(from_, origin.tag, to, target.tag, progress=Silent(), threads=4, cancel=Cancel())
            assert copied.digest == digest
        repository = open_repository(back, Settings(), Cancel())
        assert check_layers(repository, resolve(repository, "v2")[1], Settings(), 4, Silent(), Cancel()) == []
        pull_model(Request(back, tmp_path / f"out-{form}"), Silent(), Cancel())
        assert contents(tmp_path / f"out-{form}") == contents(model)


def test_skopeo_reads_and_writes(registry: LiveRegistry, skopeo: tuple[str, dict[str, str]], tmp_path: Path) -> None:
    program, environment = skopeo

    def run(*arguments: str) -> str:
        command = [program, "--insecure-policy", *arguments]
        return subprocess.run(
            command, env=environment, check=True, capture_output=True, text=True, timeout=PATIENCE_S
        ).stdout

    model = write_model(tmp_path / "m", (3_000_000,))
    place = f"{registry.host}/skopeo/m"
    for tag, form in (("pack", "modelpack"), ("image", "image")):
        pushing = Pushing(model, parse_reference(f"oci://{place}:{tag}"), form=form)  # type: ignore[arg-type]
        digest = push_model(pushing, Silent(), Cancel()).digest
        raw = run("inspect", "--raw", "--tls-verify=false", f"docker://{place}:{tag}")
        assert oci.digest_of(raw.encode()) == digest
        # Left alone it would compress layers on the way, which makes another artifact of it.
        whole = ("--preserve-digests", *(("--all",) if form == "image" else ()))
        run("copy", *whole, "--src-tls-verify=false", f"docker://{place}:{tag}", f"oci:{tmp_path}/layout:{tag}")
        pulled = pull_model(
            Request(parse_reference(f"layout://{tmp_path}/layout:{tag}"), tmp_path / tag), Silent(), Cancel()
        )
        assert pulled.digest == digest and contents(tmp_path / tag) == contents(model)
        run("copy", *whole, "--dest-tls-verify=false", f"oci:{tmp_path}/layout:{tag}", f"docker://{place}-back:{tag}")
        back = pull_model(
            Request(parse_reference(f"oci://{place}-back:{tag}"), tmp_path / f"{tag}2"), Silent(), Cancel()
        )
        assert back.digest == digest
    # As a kubelet sees it: an image with a platform, whose layers are archives with the files below models/.
    config = json.loads(run("inspect", "--config", "--tls-verify=false", f"docker://{place}:image"))
    assert config["os"] == "linux" and config["rootfs"]["type"] == "layers"
    own = parse_reference(f"layout://{tmp_path}/own:v1")
    push_model(Pushing(model, own, form="image"), Silent(), Cancel())
    run("copy", "--all", "--dest-tls-verify=false", f"oci:{tmp_path}/own:v1", f"docker://{place}-own:v1")


def test_logins_are_asked_for_and_used(tmp_path: Path) -> None:
    # docker-registry takes bcrypt alone.
    crypt = pytest.importorskip("crypt")
    hashed = crypt.crypt("secret", crypt.mksalt(crypt.METHOD_BLOWFISH, rounds=16))
    (tmp_path / "htpasswd").write_text(f"me:{hashed}\n")
    live, process = start_registry(tmp_path / "r", f"auth: {{htpasswd: {{realm: here, path: {tmp_path}/htpasswd}}}}\n")
    try:
        reference = parse_reference(f"oci://{live.host}/team/m:v1")
        source = write_model(tmp_path / "m")
        with pytest.raises(Denied, match="wants a login"):
            push_model(Pushing(source, reference, QUICK), Silent(), Cancel())
        wrong = Settings(logins=Logins(fixed=Login("me", "no")))
        with pytest.raises(Denied, match="refuses the login of me"):
            push_model(Pushing(source, reference, wrong), Silent(), Cancel())
        right = Settings(logins=Logins(fixed=Login("me", "secret")))
        digest = push_model(Pushing(source, reference, right), Silent(), Cancel()).digest
        assert pull_model(Request(reference, tmp_path / "out", right), Silent(), Cancel()).digest == digest
    finally:
        stop(process)


def test_a_registry_with_its_own_authority(tmp_path: Path) -> None:
    _certificate(tmp_path)
    live, process = start_registry(
        tmp_path / "r",
        f"http: {{addr: 'HOST', tls: {{certificate: {tmp_path}/cert.pem, key: {tmp_path}/key.pem}}}}\n",
    )
    try:
        reference = parse_reference(f"oci://{live.host}/team/m:v1")
        source = write_model(tmp_path / "m")
        trusting = Settings(ca_file=tmp_path / "cert.pem")
        digest = push_model(Pushing(source, reference, trusting), Silent(), Cancel()).digest
        assert pull_model(Request(reference, tmp_path / "out", trusting), Silent(), Cancel()).digest == digest
        careless = Settings(insecure=True)
        assert pull_model(Request(reference, tmp_path / "out2", careless), Silent(), Cancel()).digest == digest
        strict = Settings(plain_http=False, attempts=2, first_wait_s=0.01)
        with pytest.raises(Unreachable, match="--ca-file"):
            pull_model(Request(reference, tmp_path / "out3", strict), Silent(), Cancel())
    finally:
        stop(process)


def test_what_is_not_there_is_named(registry: LiveRegistry, tmp_path: Path) -> None:
    for text, words in (("none/m:v1", "has no v1, or this login may not see it"), ("none/m@sha256:" + "0" * 64, "404")):
        with pytest.raises(NotFound, match=words):
            pull_model(
                Request(parse_reference(f"oci://{registry.host}/{text}"), tmp_path / "out", QUICK), Silent(), Cancel()
            )
    assert not list(tmp_path.iterdir())


def test_every_media_type_of_modelpack_is_known() -> None:
    for kind in ("weight", "weight.config", "doc", "code", "dataset"):
        for form in ("raw", "tar", "tar+gzip", "tar+zstd"):
            text = f"application/vnd.cncf.model.{kind}.v1.{form}"
            assert modelpack.parse_media_type(text) == (kind, form)
    assert modelpack.parse_media_type("application/vnd.oci.image.layer.v1.tar") is None
    assert modelpack.parse_media_type("application/vnd.cncf.model.weight.v1.zip") is None


def _certificate(folder: Path) -> None:
    import ipaddress

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "registry")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
