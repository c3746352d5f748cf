"""What a container starts, also by a script of a shell; and its arguments as fields."""

from __future__ import annotations

import pytest

from fairlead.serving.convert.command_lines import read_start
from fairlead.serving.convert.flags import lift, options
from fairlead.serving.convert.go_templates import fill, from_object


@pytest.mark.parametrize(
    ("image", "command", "engine", "arguments"),
    [
        ("x", ["vllm", "serve", "m", "--a"], "vllm", ("m", "--a")),
        ("x", ["python3", "-m", "vllm.entrypoints.openai.api_server", "--a"], "vllm", ("--a",)),
        ("x", ["python", "-m", "sglang.launch_server", "--tp", "2"], "sglang", ("--tp", "2")),
        ("x", ["tritonserver", "--log-verbose=1"], "triton", ("--log-verbose=1",)),
        ("x", ["text-generation-launcher"], "tgi", ()),
        ("x", ["/app/llm-d-inference-sim", "--mode", "random"], "simulated", ("--mode", "random")),
        ("docker.io/vllm/vllm-openai:v1", [], "vllm", ()),
        ("nvcr.io/nvidia/tritonserver:25.01-py3", [], "triton", ()),
        ("my/own", [], "", ()),
    ],
)
def test_programs_and_images(image: str, command: list[str], engine: str, arguments: tuple[str, ...]) -> None:
    start = read_start(image, command, [], {})
    assert (start.engine, start.arguments, start.command) == (engine, arguments, ())


def test_a_program_that_is_not_known_stays_the_command() -> None:
    start = read_start("vllm:1", ["/start.sh", "x"], ["--a"], {})
    assert (start.engine, start.command, start.arguments) == ("vllm", ("/start.sh", "x"), ("--a",))


@pytest.mark.parametrize(
    ("script", "arguments", "problems"),
    [
        ("vllm serve /mnt/models --a 'b c' --d", ("/mnt/models", "--a", "b c", "--d"), 0),
        ("exec vllm serve m \\\n  --a \\\n  --b", ("m", "--a", "--b"), 0),
        ("# a comment: vllm serve x\nvllm serve m", ("m",), 0),
        ("vllm serve m --log /h,/m $NAME ${TOKEN}", ("m", "--log", "/h,/m", "a", "b", "$(TOKEN)"), 0),
        ("vllm serve m --x=$NAME/y", ("m", "--x=$(NAME)/y"), 0),
        ("pip install x && vllm serve m", ("m",), 1),
        ("vllm serve m; sleep 5", ("m",), 1),
        ("vllm serve m --x $(hostname)", ("m", "--x"), 1),
        ("vllm serve m --x $GONE", ("m", "--x"), 1),
        ("vllm serve m $VLLM_ADDITIONAL_ARGS", ("m",), 0),
        ("sleep 5", (), 1),
    ],
)  # fmt: skip
def test_scripts(script: str, arguments: tuple[str, ...], problems: int) -> None:
    start = read_start("x", ["/bin/bash", "-c", script], [], {"NAME": "a b", "TOKEN": ""})
    assert start.arguments == arguments
    assert len(start.problems) == problems, start.problems


def test_what_follows_a_script() -> None:
    start = read_start("x", ["sh", "-c", 'vllm serve m "$@"', "--"], ["--a", "--b"], {})
    assert start.arguments == ("m", "--a", "--b")
    unused = read_start("x", ["sh", "-c", "vllm serve m", "--"], ["--a"], {})
    assert "--a" in unused.problems[0]


def test_options_are_parted() -> None:
    assert options(["m", "--a", "1", "2", "--b=3", "--c"]) == [["m"], ["--a", "1", "2"], ["--b", "3"], ["--c"]]


def test_values_that_are_no_fields_stay_arguments() -> None:
    arguments = ["--max-model-len", "32k", "--gpu-memory-utilization", "0.955", "--block-size", "0", "-tp", "2"]
    lifted = lift(arguments, "vllm")
    assert lifted.args == arguments[:-2] and lifted.parallelism == {"tensor": 2}
    assert lifted.max_context_tokens is None and lifted.kv_cache == {}


def test_templates() -> None:
    values = from_object({"metadata": {"name": "n", "labels": {"a": "b"}}, "spec": {"model": {"name": "m"}}})
    text = (
        "{{.Name}} {{ .ObjectMeta.Name }} {{- .Spec.Model.Name }} {{.Labels.a}} {{ ChildName .ObjectMeta.Name `-x` }}"
    )
    assert fill(text, values) == ("n n m b n-x", [])
    assert fill("{{ if .X }}a{{ end }}{{ .Spec.Gone }}", values)[1] == ["{{ if .X }}", "{{ end }}", "{{ .Spec.Gone }}"]
