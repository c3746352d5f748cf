"""Every file in examples/ is accepted as it stands, by the API server's own validation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from e2e.cluster import Kubectl

pytestmark = pytest.mark.xdist_group("platform")

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.yaml"))


def test_there_are_examples() -> None:
    assert {path.stem for path in EXAMPLES} >= {"tiny", "vllm", "deployment", "job", "claims"}


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_accepted_without_warnings(kubectl: Kubectl, path: Path) -> None:
    answer = kubectl.run("create", "--dry-run=server", "--validate=strict", "-f", str(path), check=False)
    lines = answer.splitlines()
    assert lines and all(line.endswith(" created (server dry run)") for line in lines), answer
    assert len(lines) == path.read_text().count("\nkind: ")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_says_how_to_run_it(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    assert re.search(rf"# .*(kubectl apply|fairlead deploy) -f examples/{path.name}", first), first
