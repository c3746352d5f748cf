"""What the command line says of servers' pages, as the document that a file would be."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from fairlead.bench.config import ServerMetrics
from fairlead.bench.config.read import read_config
from fairlead.cli.bench import bench_app
from fairlead.cli.failure import Failed


def dry(*options: str) -> dict[str, Any]:
    arguments = ["run", "http://127.0.0.1:8000", "--model", "m", "--rate", "1", *options, "--dry-run"]
    result = CliRunner().invoke(bench_app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    document = yaml.safe_load(result.stdout)
    assert isinstance(document, dict)
    return document


def test_options_are_short_forms_of_fields() -> None:
    assert "server" not in dry()
    document = dry("--server", "auto")
    assert document["server"] == {} and read_config(document).server == ServerMetrics()
    document = dry(
        "--server", "a:1, b:2", "--gateway-metrics", "g:9090", "--power", "http://p:9400/metrics",
        "--accelerator", "H100", "--accelerators", "8", "--price-per-hour", "2.5",
        "--set", "server.power_labels={pod: llama-*}",
    )  # fmt: skip
    assert document["server"] == {
        "engines": ["a:1", "b:2"], "gateway": "g:9090", "power": ["http://p:9400/metrics"], "accelerator": "H100",
        "accelerators": 8.0, "price_per_hour": 2.5, "power_labels": {"pod": "llama-*"},
    }  # fmt: skip
    assert dry("--pool", "default/llama")["server"] == {"pool": "default/llama"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--server", "a:1,,b:2"), "--server is 'a:1,,b:2': write addresses, with commas between them"),
        (("--server", "a"), r"server.engines\[0\] is 'a': write HOST:PORT"),
        (("--pool", "llama"), "server.pool is 'llama': write namespace/name"),
        (("--price-per-hour", "2"), "not known of how many accelerators"),
    ],
)
def test_a_wrong_option_is_told(options: tuple[str, ...], said: str) -> None:
    with pytest.raises(Failed, match=said):
        dry(*options)
