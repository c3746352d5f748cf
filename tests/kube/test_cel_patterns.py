import pytest

from fairlead.kube import cel_patterns


@pytest.mark.parametrize(
    ("pattern", "plain"),
    [
        ("abc", "abc"),
        ("a(b|c)d", "a(?:b|c)d"),
        ("(?P<name>a)(?i:b)", "(?:a)(?i:b)"),
        (r"\((a)\)", r"\((?:a)\)"),
        ("[(]([^)]+)[])]", "[(](?:[^)]+)[])]"),
        (r"\Q(x)\E(y)", r"\Q(x)\E(?:y)"),
        ("((a)b)", "(?:(?:a)b)"),
    ],
)
def test_groups_capture_nothing(pattern: str, plain: str) -> None:
    assert cel_patterns.without_groups(pattern) == plain


def test_finds_whole_pieces() -> None:
    assert cel_patterns.find("gpu-80gb-sxm", "([0-9]+)(gb|tb)") == "80gb"
    assert cel_patterns.find("gpu", "x+") == ""
    assert cel_patterns.find_all("a1 b22 c", "([a-z])[0-9]+") == ("a1", "b22")
    assert cel_patterns.matches("gpu-80gb", "^gpu")


def test_a_pattern_that_backtracks_elsewhere_takes_no_time() -> None:
    text = "a" * 5000 + "!"
    assert not cel_patterns.matches(text, "^(a+)+$")
    assert cel_patterns.find(text, "(a+)+$") == ""


def test_a_malformed_pattern_is_a_value_error() -> None:
    assert not cel_patterns.is_pattern("[")
    with pytest.raises(ValueError, match="missing"):
        cel_patterns.find("a", "(")
