"""Values inside messages about fields."""

import pytest

from fairlead.embedded.apiserver.invalid import go_quoted


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ("plain ä 😀", '"plain ä 😀"'),
        ('a"b\\c', r'"a\"b\\c"'),
        ("\x00\a\t\n\x7f", r'"\x00\a\t\n\x7f"'),
        ("\u00ad\u200b", r'"\u00ad\u200b"'),
        ("\U000e0001", r'"\U000e0001"'),
    ],
)
def test_strings_are_quoted_as_go_quotes_them(text: str, quoted: str) -> None:
    assert go_quoted(text) == quoted
