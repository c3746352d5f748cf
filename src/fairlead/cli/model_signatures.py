"""`fairlead model sign, verify, keygen`: signatures as cosign makes them, and whether files are what they were."""

from __future__ import annotations

import json
import os
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fairlead.cli.failure import Failed
from fairlead.cli.model_registry import (
    Access,
    CaOption,
    InsecureOption,
    LoginsOption,
    OutputOption,
    ParallelOption,
    PlainOption,
    QuietOption,
    ReferenceArgument,
    Shown,
    UsernameOption,
    failing,
    with_repository,
)

if TYPE_CHECKING:
    from fairlead.serving.store.artifacts import AnyRepository
    from fairlead.serving.store.references import Reference
    from fairlead.serving.store.repository import Cancel
    from fairlead.serving.store.sign import Verdict

_PASSWORD = "COSIGN_PASSWORD"


def register(group: typer.Typer) -> None:
    """Adds the commands to the group `fairlead model`."""
    group.command()(sign)
    group.command()(verify)
    group.command()(keygen)


def sign(
    reference_: ReferenceArgument,
    key: Annotated[
        Path,
        typer.Option("--key", metavar="FILE", help=f"Private key in PEM, plain or cosign's (password: ${_PASSWORD})."),
    ],
    claims: Annotated[
        list[str] | None, typer.Option("--annotation", "-a", metavar="KEY=VALUE", help="Further claims, signed too.")
    ] = None,
    username: UsernameOption = "",
    logins: LoginsOption = None,
    ca_file: CaOption = None,
    insecure: InsecureOption = False,
    plain_http: PlainOption = None,
) -> None:
    """Sign an artifact, so that `cosign verify --key` and verification policies find it signed."""
    from fairlead.serving.store.keys import load_private
    from fairlead.serving.store.sign import sign as sign_artifact

    broken = next((claim for claim in claims or () if "=" not in claim), None)
    if broken is not None:
        raise Failed(f"--annotation {broken}: write KEY=VALUE")
    said = dict(claim.split("=", 1) for claim in claims or ())
    with failing():
        private = load_private(key.read_bytes(), _password(key), str(key))

    def work(repository: AnyRepository, parsed: Reference, _: Cancel) -> str:
        digest = repository.manifest(parsed.selector)[0].digest
        name = parsed.place.partition("://")[2]
        sign_artifact(repository, digest, name, private, said)
        return digest

    access = Access(username, logins, ca_file, insecure, plain_http)
    typer.echo(f"signed {with_repository(reference_, access, work)}")


def verify(
    what: Annotated[str, typer.Argument(metavar="REFERENCE|FOLDER", help="An artifact, or a folder that was pulled.")],
    keys: Annotated[
        list[Path] | None, typer.Option("--key", metavar="FILE", help="Public key; one that has signed is enough.")
    ] = None,
    content: Annotated[
        bool, typer.Option("--content", help="Read every layer, and compare it with its digest.")
    ] = False,
    parallel: ParallelOption = 4,
    output: OutputOption = "text",
    quiet: QuietOption = False,
    username: UsernameOption = "",
    logins: LoginsOption = None,
    ca_file: CaOption = None,
    insecure: InsecureOption = False,
    plain_http: PlainOption = None,
) -> None:
    """Check who signed an artifact, or that its bytes (or a pulled folder's) are what they were. Status 1 if not."""
    if "://" not in what and Path(what).is_dir() and not (Path(what) / "oci-layout").exists():
        _verify_folder(Path(what), keys, parallel, output, quiet)
        return
    if not keys and not content:
        raise Failed("verify what? --key FILE: that its holder signed; --content: that each layer is what it should be")
    access = Access(username, logins, ca_file, insecure, plain_http)
    signer: Verdict | None = None
    if keys:
        with failing():
            pems = [path.read_text() for path in keys]
        signer = _verify_signature(what, access, pems)
    if content:
        _verify_layers(what, access, parallel, quiet)
    _tell(what, keys, signer, content, output, quiet)


def keygen(
    prefix: Annotated[Path, typer.Option("--output-key-prefix", help="Names: PREFIX.key and PREFIX.pub.")] = Path(
        "cosign"
    ),
) -> None:
    """Make a pair of keys as cosign does: PREFIX.key, encrypted under $COSIGN_PASSWORD, and PREFIX.pub."""
    from fairlead.serving.store.keys import generate

    private_at, public_at = prefix.with_name(prefix.name + ".key"), prefix.with_name(prefix.name + ".pub")
    for path in (private_at, public_at):
        if path.exists():
            raise Failed(f"{path} exists; move it away, or choose another --output-key-prefix")
    private, public = generate(_asked_password("New password: "), secrets.token_bytes(56))
    with failing():
        descriptor = os.open(private_at, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:
            file.write(private)
        public_at.write_bytes(public)
    typer.echo(f"{private_at} (keep it secret), {public_at}")


def _verify_signature(what: str, access: Access, pems: list[str]) -> Verdict:
    from fairlead.serving.store.sign import verify as verify_artifact

    def work(repository: AnyRepository, parsed: Reference, _: Cancel) -> Verdict:
        digest = repository.manifest(parsed.selector)[0].digest
        return verify_artifact(repository, digest, pems)

    verdict = with_repository(what, access, work)
    if verdict.signer is None:
        raise Failed(f"{what}: {verdict.reason}")
    return verdict


def _verify_layers(what: str, access: Access, parallel: int, quiet: bool) -> None:
    from fairlead.serving.store.check import check_layers
    from fairlead.serving.store.pull import resolve

    with Shown(quiet) as shown:

        def work(repository: AnyRepository, parsed: Reference, cancel: Cancel) -> list[str]:
            _, manifest = resolve(repository, parsed.selector)
            return check_layers(repository, manifest, access.settings(), parallel, shown, cancel)

        if problems := with_repository(what, access, work):
            raise Failed(f"{what}: " + "; ".join(problems))


def _verify_folder(folder: Path, keys: list[Path] | None, parallel: int, output: str, quiet: bool) -> None:
    if keys:
        raise Failed(f"{folder}: a folder carries no signatures; verify the artifact it was pulled from with --key")
    from fairlead.serving.store.check import check_folder
    from fairlead.serving.store.repository import Cancel

    with failing(), Shown(quiet) as shown:
        digest, problems = check_folder(folder, parallel, shown, Cancel())
    if output == "json":
        typer.echo(json.dumps({"folder": str(folder), "digest": digest, "problems": problems}))
        if problems:
            raise typer.Exit(1)
    elif problems:
        raise Failed(f"{folder}: not what {digest} is: " + "; ".join(problems))
    elif not quiet:
        typer.echo(f"{folder}: is {digest}")


def _tell(what: str, keys: list[Path] | None, signer: Verdict | None, content: bool, output: str, quiet: bool) -> None:
    by = str(keys[signer.signer]) if keys and signer is not None and signer.signer is not None else None
    if output == "json":
        typer.echo(json.dumps({"reference": what, "signedBy": by, "contentChecked": content}))
    elif not quiet:
        said = [f"signed by {by}"] if by else []
        typer.echo(f"{what}: " + ", ".join([*said, *(["every layer is what it should be"] if content else [])]))


def _password(key: Path) -> bytes:
    if b"ENCRYPTED" not in key.read_bytes():
        return b""
    return _asked_password(f"Password of {key}: ")


def _asked_password(prompt: str) -> bytes:
    given = os.environ.get(_PASSWORD)
    if given is not None:
        return given.encode()
    if not sys.stdin.isatty():
        raise Failed(f"no password: set {_PASSWORD} (empty for none)")
    import getpass

    return getpass.getpass(prompt).encode()
