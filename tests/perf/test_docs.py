"""The examples of docs/perf.md run as written and print what stands below them."""

import contextlib
import io
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "perf.md"
EXAMPLES = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
YAML = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)


@pytest.mark.parametrize(("code", "printed"), EXAMPLES, ids=range(len(EXAMPLES)))
def test_an_example_prints_what_the_page_says(code, printed):
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(code, str(PAGE), "exec"), {})
    assert output.getvalue() == printed


def test_there_are_three_examples():
    assert len(EXAMPLES) == 3


def test_the_table_of_own_devices_is_read(tmp_path):
    from fairlead.perf import accelerator, load_accelerators

    path = tmp_path / "mine.yaml"
    path.write_text(YAML[0])
    assert accelerator("H300", load_accelerators(path)).memory_bytes_per_s == 1e13
