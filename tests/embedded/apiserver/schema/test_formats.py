import pytest

from fairlead.embedded.apiserver.schema.formats import is_valid


@pytest.mark.parametrize(
    ("format_", "good", "bad"),
    [
        ("date-time", "2020-01-01t00:00:00z", "2020-01-01"),
        ("date", "2020-02-29", "2021-02-29"),
        ("duration", "3 days", "1x"),
        ("duration", "1h30m", "h"),
        ("email", "a@b.com", "a@"),
        ("hostname", "a.example", "a.b"),
        ("hostname", "localhost", "-a"),
        ("ipv6", "::1", "1.2.3.4"),
        ("cidr", "10.0.0.0/8", "10.0.0.0"),
        ("mac", "00:00:5e:00:53:01", "00:00:5e"),
        ("uri", "/rel", "rel"),
        ("uuid", "00000000-9dad-11d1-80b4-00c04fd430c8", "x"),
        ("uuid4", "9c54e0a8-3a1b-4b8e-8a3c-2d9a3f5e6b7c", "00000000-9dad-11d1-80b4-00c04fd430c8"),
        ("byte", "eA==", "!"),
        ("creditcard", "4111 1111 1111 1111", "4111 1111 1111 1112"),
        ("isbn", "978-3-16-148410-0", "978-3-16-148410-1"),
        ("hexcolor", "#fff", "#ffff"),
        ("rgbcolor", "rgb(0, 128, 255)", "rgb(0, 128, 256)"),
        ("k8s-short-name", "a-b", "a.b"),
        ("k8s-long-name", "a.b", "A.b"),
    ],
)
def test_formats(format_: str, good: str, bad: str) -> None:
    assert is_valid(format_, good)
    assert not is_valid(format_, bad)


def test_unknown_formats_accept_everything() -> None:
    assert is_valid("no-such-format", "!")
