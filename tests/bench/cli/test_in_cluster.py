"""`--in-cluster`: the Benchmark that says what the command line said, and what is better not written into it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bench.cluster.made import CONFIG
from fairlead.bench.config.read import read_config
from fairlead.cli.bench_cluster import Asked, manifest
from fairlead.cli.failure import Failed


def config(**target: Any) -> Any:
    return read_config(
        {**CONFIG, "name": "Chat at Noon!", "targets": [{"url": "http://sim:8000", **target}]}, files=False
    )


def test_the_benchmark_says_the_same(tmp_path: Path) -> None:
    overlay = tmp_path / "pods.yaml"
    overlay.write_text("spec: {nodeSelector: {pool: load}}")
    asked = Asked("load", 4, "image:1", overlay, "s3://bucket/bench")
    made = manifest(config(), asked)
    assert made["metadata"]["namespace"] == "load" and made["metadata"]["name"].startswith("chat-at-noon-")
    spec = made["spec"]
    assert read_config(spec["config"], files=False) == config()
    assert (spec["workers"], spec["image"], spec["results"]) == (4, "image:1", {"url": "s3://bucket/bench"})
    assert spec["template"] == {"spec": {"nodeSelector": {"pool": "load"}}}
    assert {"workers", "image", "template", "results"}.isdisjoint(manifest(config(), Asked())["spec"])


@pytest.mark.parametrize(
    ("target", "problem"),
    [
        ({"headers": {"Authorization": "Bearer s3cret"}}, r"targets\[0\].headers.Authorization would be read by all"),
        ({"headers": {"X-Api-Key": "s3cret"}}, "headers.X-Api-Key"),
        ({"url": "http://me:s3cret@sim:8000"}, "url has a password"),
        ({"key_env": "OPENAI_API_KEY"}, "the pods have no such variable"),
    ],
)
def test_keys_are_not_written_where_all_may_read_them(target: dict[str, Any], problem: str) -> None:
    with pytest.raises(Failed, match=problem) as failed:
        manifest(config(**target), Asked())
    assert "Secret" in str(failed.value) and "s3cret" not in str(failed.value)


def test_keys_of_the_pods_own_environment_are_fine(tmp_path: Path) -> None:
    overlay = tmp_path / "pods.yaml"
    overlay.write_text("spec: {containers: [{name: bench, env: [{name: KEY, value: x}]}]}")
    manifest(config(key_env="KEY", headers={"Authorization": "Bearer ${KEY}", "X-Team": "a"}), Asked(template=overlay))


@pytest.mark.parametrize("text", ["a: [", "[1]", "containers: []"])
def test_a_template_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    overlay = tmp_path / "pods.yaml"
    overlay.write_text(text)
    with pytest.raises(Failed, match="--template"):
        manifest(config(), Asked(template=overlay))
