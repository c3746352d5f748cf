"""What a report says of where a run was made."""

from __future__ import annotations

import pytest

from fairlead.bench.run.environment import command_line, environment


@pytest.mark.parametrize(
    "secret",
    [
        ["-H", "Authorization: Bearer s3cret"],
        ["-HAuthorization: Bearer s3cret"],
        ["--header", "X-Key: s3cret"],
        ["--header=X-Key: s3cret"],
        ["--set", "targets.0.headers.X-Key=s3cret"],
        ["--set=targets.0.headers.X-Key=s3cret"],
        ["http://me:s3cret@host:8000/v1"],
    ],
)
def test_the_command_line_is_kept_without_its_secrets(secret: list[str]) -> None:
    said = command_line(["fairlead", "bench", *secret, "--rate", "4"])
    assert "s3cret" not in said
    assert said.startswith("fairlead bench") and said.endswith("--rate 4")


def test_what_a_reader_needs() -> None:
    said = environment()
    assert said["cores"] and said["kernel"] and said["fairlead"]
