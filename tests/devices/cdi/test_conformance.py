"""The CDI project's own files, from a checkout that FAIRLEAD_CDI_REPO names, through our reader.

`schema/testdata` has specs that must be accepted and specs that must be refused. The specs inside the project's Go
tests are read too: as many must be refused as are broken there on purpose.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from fairlead.devices.cdi import SpecError, read_spec
from fairlead.devices.cdi.read import parse_spec

REPO = Path(os.environ.get("FAIRLEAD_CDI_REPO") or "/nonexistent")

pytestmark = pytest.mark.skipif(
    not REPO.is_dir(), reason="FAIRLEAD_CDI_REPO names no checkout of container-device-interface"
)

# Go tests and how many of the specs in them are broken on purpose.
_GO_TESTS = {"cache_test.go": 3, "spec_test.go": 14, "spec-dirs_test.go": 3, "regressions_test.go": 0}


def test_the_good_files_are_accepted() -> None:
    files = sorted((REPO / "schema/testdata/good").glob("**/*.json"))
    assert len(files) >= 2
    for file in files:
        assert read_spec(file).devices


def test_the_bad_files_are_refused() -> None:
    files = sorted((REPO / "schema/testdata/bad").glob("**/*.json"))
    assert len(files) >= 2
    for file in files:
        with pytest.raises(SpecError):
            read_spec(file)


def specs_in(name: str) -> list[str]:
    text = (REPO / "pkg/cdi" / name).read_text().replace("` + cdi.CurrentVersion + `", "1.1.0")
    return [
        found for found in re.findall(r"`\n?([^`]*)`", text) if re.search(r"^(cdiVersion|kind|xyzzy):", found, re.M)
    ]


@pytest.mark.parametrize("name", _GO_TESTS)
def test_the_specs_of_the_go_tests_get_the_verdict_they_get_there(name: str) -> None:
    found = specs_in(name)
    refused = []
    for text in found:
        try:
            parse_spec(text.encode(), is_yaml=True)
        except SpecError as error:
            refused.append(str(error))
    assert len(found) > 1
    assert len(refused) == _GO_TESTS[name], "\n".join(refused)
