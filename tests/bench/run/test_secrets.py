"""Nothing that opens a door is in what a run leaves behind, wherever it was given and whoever repeats it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.hostile import hostile, status
from bench.run.runs import benchmark, records_of, steady
from fairlead.bench.config.shown import is_secret_name, shown_config, shown_url
from fairlead.bench.report.files import write_report
from fairlead.bench.results.store import load
from fairlead.bench.run import run
from fairlead.bench.run.environment import command_line
from fairlead.bench.run.secrets import Secrets

secrets = st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJ0123456789+/=%&\"' é", min_size=12, max_size=24).map(
    lambda text: f"s3{text.strip()}cr3t"
)


def hiding(secret: str) -> dict[str, object]:
    """A target with the secret wherever one can be."""
    in_url = quote(secret, safe="")
    return {
        "url": f"http://user:{in_url}@127.0.0.1:1/v1?api_key={in_url}&api-version=7#{in_url}",
        "path": f"/chat?sig={in_url}",
        "headers": {"Authorization": f"Bearer {secret}", "Cookie": f"a=b; session={secret}"},
        "parameters": {"user": {"access_token": secret}, "max_tokens": 7},
        "raw": {"body": msgspec.json.encode({"api_key": secret, "prompt": "${prompt}"}).decode()},
    }


@given(secrets)
def test_no_secret_is_in_a_configuration_that_is_shown_nor_in_what_a_server_repeats(secret: str) -> None:
    config = benchmark("http://127.0.0.1:1", steady(1, 1), target=hiding(secret))
    shown = shown_config(config)
    (target,) = shown["targets"]  # type: ignore[misc]
    forms = (secret, quote(secret, safe=""), msgspec.json.encode(secret).decode()[1:-1])
    assert not any(form in str(shown) or form in msgspec.json.encode(shown).decode() for form in forms)
    assert target["url"] == "http://127.0.0.1:1/v1?api_key=(not shown)&api-version=7#(not shown)"
    assert target["parameters"]["max_tokens"] == 7 and "${prompt}" in target["raw"]["body"]
    found = Secrets(config)
    for form in forms:
        assert form not in found.hidden(f"401: wrong key {form}, said http://127.0.0.1/?key={form}")
    assert found.hidden("503: no capacity") == "503: no capacity"
    for length in range(4, len(secret)):
        said = found.hidden("x" * 300 + secret[:length])
        assert said.startswith("x" * 300) and not said.endswith(secret[:length])


@given(secrets)
def test_no_secret_is_in_a_command_line(secret: str) -> None:
    in_url = quote(secret, safe="")
    given_as = [
        [f"http://me:{in_url}@host/v1?api_key={in_url}"],
        ["-H", f"Authorization: Bearer {secret}"],
        [f"--header=X-Key: {secret}"],
        ["--set", f"targets.0.headers.X-Key={secret}"],
        ["--set", f"targets.0.url=http://host/?key={in_url}"],
        ["--set", f"targets.0.parameters.api_key={secret}"],
        [f"--set=targets.0.parameters.access-token={secret}"],
    ]
    for arguments in given_as:
        said = command_line(["fairlead", "bench", *arguments, "--rate", "4"])
        assert secret not in said and in_url not in said, said
        assert said.endswith("--rate 4")


@pytest.mark.parametrize(
    ("name", "secret"),
    [("api_key", True), ("X-Api-Key", True), ("access_token", True), ("token", True), ("password", True),
     ("max_tokens", False), ("prompt_tokens", False), ("monkey", False), ("tokenizer", False), ("seed", False)],
)  # fmt: skip
def test_names_of_secrets(name: str, secret: bool) -> None:
    assert is_secret_name(name) == secret


def test_an_address_that_has_nothing_to_hide_is_as_it_was() -> None:
    assert shown_url("https://host:8000/v1") == "https://host:8000/v1"


async def test_no_file_of_a_run_has_any_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a server that repeats in its error what it was sent, and a command line with all of it."""
    key, header, query, password = (f"s3cret-{name}-0123456789" for name in ("key", "header", "query", "password"))
    monkeypatch.setenv("BENCH_KEY", key)
    told = f'{{"error": "{key} and {header} and {query} and {password} are not welcome"}}'
    folder = tmp_path / "run"
    with hostile(lambda _: (status("401 Unauthorized", told), False)) as server:
        url = server.url.replace("//", f"//me:{password}@") + f"/?api_key={query}"
        monkeypatch.setattr(sys, "argv", ["fairlead", "bench", url, "--header", f"X-Key: {header}"])
        target = {"key_env": "BENCH_KEY", "headers": {"X-Key": header}}
        config = benchmark(url, steady(20, 0.3), target=target)
        summary = await asyncio.wait_for(run(config, folder), 60)
    assert "are not welcome" in summary.why_ended
    for form in ("v0.2", "html"):
        write_report(load(folder), form, folder)  # type: ignore[arg-type]
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {"config.yaml", "summary.json", "report.html"} <= {path.name for path in files}
    texts = [path.read_bytes().decode(errors="replace") for path in files] + [str(records_of(folder))]
    for secret in (key, header, query, password):
        assert [text for text in texts if secret in text] == []
