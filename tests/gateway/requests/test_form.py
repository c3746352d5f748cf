"""Fields of multipart forms."""

import contextlib

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.gateway.requests import Api, BadBody, parse, rewrite_model

CRLF = b"\r\n"


def part(name: str, value: bytes, more: str = "") -> bytes:
    return f'Content-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + value


def form(*parts: bytes, boundary: bytes = b"xyz") -> bytes:
    return b"".join(b"--" + boundary + CRLF + each + CRLF for each in parts) + b"--" + boundary + b"--" + CRLF


async def test_a_form_of_aiohttp():
    data = aiohttp.FormData()
    data.add_field("file", b"x" * 100_000, filename="model.wav", content_type="audio/wav")
    data.add_field("model", "whisper")
    data.add_field("stream", "true")
    body = bytearray()

    class Sink:
        async def write(self, chunk: bytes) -> None:
            body.extend(chunk)

    await data().write(Sink())  # type: ignore[arg-type]
    request = parse(Api.FORM, bytes(body))
    assert (request.model, request.stream, request.media) == ("whisper", True, 1)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"--",
        b'{"model": "m"}',
        b"--xyz--\r\n",
        form(part("file", b"x")),
        form(part("model", b"")),
        form(part("model", b"\xff")),
        form(part("model", b"m", '; filename="model"')),
        form(part("model", b"m" * 10_000)),
        form(part("file", form(part("model", b"inner"), boundary=b"abc"), '; filename="f"')),
        b"--xyz\r\n" + part("model", b"m"),
        b"--" + b"x" * 100 + CRLF + part("model", b"m") + CRLF + b"--" + b"x" * 100 + b"--",
    ],
)
def test_forms_that_name_no_model(body):
    with pytest.raises(BadBody) as caught:
        parse(Api.FORM, body)
    assert caught.value.param == "model"


def test_the_last_of_two_counts_and_is_renamed():
    body = form(part("model", b"a"), part("file", b"\r\n--xy\r\n", '; filename="f"'), part("model", b"b"))
    assert parse(Api.FORM, body).model == "b"
    assert rewrite_model(body, "b", "longer") == body.replace(b"\r\n\r\nb\r\n", b"\r\n\r\nlonger\r\n")
    assert rewrite_model(body, "a", "longer") == body


@given(file=st.binary(max_size=300), name=st.from_regex(r"[a-z/.:-]{1,20}", fullmatch=True))
def test_files_are_passed_over(file, name):
    body = form(part("file", file.replace(b"--xyz", b""), '; filename="f"'), part("model", name.encode()))
    assert parse(Api.FORM, body).model == name


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_read_or_refused(tail):
    for body in (tail, b"--xyz\r\n" + tail, form(part("model", b"m"))[: len(tail)] + tail):
        with contextlib.suppress(BadBody):
            assert parse(Api.FORM, body).model
