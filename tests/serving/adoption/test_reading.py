"""What containers say of their engines: command lines of every engine, however wrapped, and what hides them."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fairlead.engines import EngineSpec, engine_for
from fairlead.serving.adoption.programs import PROGRAMS, of_image
from fairlead.serving.adoption.reading import Reading, read_containers

SOURCES = {
    "triton": "/models", "mlserver": "/models/m", "openvino": "/models/m", "onnx": "/models/m.onnx",
    "llama-cpp": "/models/m.gguf",
}  # fmt: skip
ONE_NAME = frozenset(("sglang", "tensorrt-llm", "triton", "mlserver", "openvino", "furiosa-llm", "tgi"))
NAMED_BY_SOURCE = {"furiosa-llm", "tgi"}
"""They have no flag for a name: it is what they load."""
RUNTIMES = sorted(p.runtime for p in PROGRAMS)
_NAMES = st.lists(st.from_regex(r"[A-Za-z][A-Za-z0-9._/-]{0,11}", fullmatch=True), min_size=1, max_size=3, unique=True)


def direct(argv: list[str]) -> dict[str, Any]:
    return {"command": argv}


def split(argv: list[str]) -> dict[str, Any]:
    return {"command": argv[:1], "args": argv[1:]}


def in_shell(argv: list[str]) -> dict[str, Any]:
    return {"command": ["/bin/sh", "-c"], "args": [shlex.join(argv)]}


def after_others(argv: list[str]) -> dict[str, Any]:
    script = f"set -euo pipefail\necho starting vllm serve || true\ncd /tmp && exec {shlex.join(argv)} 2>&1 | tee log\n"
    return {"command": ["bash", "-lc", script]}


def over_lines(argv: list[str]) -> dict[str, Any]:
    return {"command": ["bash", "-euxo", "pipefail", "-c", " \\\n  ".join(shlex.quote(word) for word in argv)]}


def as_parameters(argv: list[str]) -> dict[str, Any]:
    return {"command": ["sh", "-c", 'exec "$@"', "--"], "args": argv}


def in_two_shells(argv: list[str]) -> dict[str, Any]:
    return {"command": ["tini", "--", "bash", "-c", f"exec sh -c {shlex.quote(shlex.join(argv))}"]}


def behind_wrappers(argv: list[str]) -> dict[str, Any]:
    return {"command": ["/usr/bin/numactl", "--cpunodebind=0", "env", "A=b", *argv]}


def by_kubernetes(argv: list[str]) -> dict[str, Any]:
    """Each word in a variable, one of which is made of another."""
    env = [{"name": f"W{n}", "value": word.replace("$", "$$")} for n, word in enumerate(argv)]
    env += [{"name": "LAST", "value": f"$(W{len(argv) - 1})"}]
    return {"command": [*(f"$(W{n})" for n in range(len(argv) - 1)), "$(LAST)"], "env": env}


def by_the_shell(argv: list[str]) -> dict[str, Any]:
    env = [{"name": f"W{n}", "value": word} for n, word in enumerate(argv)]
    words = [f'"$W{n}"' if n % 2 else f'"${{W{n}:-default}}"' for n in range(len(argv))]
    return {"command": ["sh", "-c", " ".join(words)], "env": env}


def by_assignments(argv: list[str]) -> dict[str, Any]:
    lines = [f"export W{n}={shlex.quote(word)}" for n, word in enumerate(argv)]
    return {"command": ["sh", "-c", "\n".join([*lines, " ".join(f'"$W{n}"' for n in range(len(argv)))])]}


WRAPPERS = [
    direct, split, in_shell, after_others, over_lines, as_parameters, in_two_shells, behind_wrappers, by_kubernetes,
    by_the_shell, by_assignments,
]  # fmt: skip


@pytest.mark.parametrize("runtime", RUNTIMES)
@given(names=_NAMES, port=st.integers(1, 65535), wrap=st.sampled_from(WRAPPERS))
def test_what_our_own_adapters_write_is_read_back(runtime: str, names: list[str], port: int, wrap: Any) -> None:
    names = names[:1] if runtime in ONE_NAME else names
    source = names[0] if runtime in NAMED_BY_SOURCE else SOURCES.get(runtime, "hf://org/model")
    source = f"hf://{source}" if runtime in NAMED_BY_SOURCE else source
    spec = EngineSpec(model=names[0], aliases=tuple(names[1:]), source=source, port=port, host="0.0.0.0")
    command = engine_for(runtime).command(spec)
    made = wrap(list(command.argv))
    own = [{"name": name, "value": value} for name, value in command.env.items()]
    image = "vllm/vllm-tpu:v1" if runtime == "vllm-tpu" else "registry.example/team/server:1"
    container = {"name": "engine", "image": image, **made, "env": [*own, *made.get("env", [])]}
    reading = read_containers([{"name": "proxy", "image": "envoy", "command": ["envoy", "-c", "x"]}, container])
    assert not reading.gaps
    assert (reading.runtime, list(reading.names), reading.port) == (runtime, names, port)


def read(image: str = "own/image", probe: bool = True, **container: Any) -> Reading:
    ready = {"readinessProbe": {"httpGet": {"path": "/health", "port": "http"}}} if probe else {}
    return read_containers([{"name": "c", "image": image, **ready, **container}])


def env(**values: str) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in values.items()]


IMAGES = {
    "vllm/vllm-openai:v0.32": (["org/m"], [], ("vllm", ("org/m",), 8000)),
    "docker.io/vllm/vllm-openai@sha256:ab": (["--model", "org/m", "--port=81"], [], ("vllm", ("org/m",), 81)),
    "localhost:5000/vllm/vllm-openai": (["m", "--served_model_name", "a", "b"], [], ("vllm", ("a", "b"), 8000)),
    "vllm/vllm-tpu:nightly": (["m"], [], ("vllm-tpu", ("m",), 8000)),
    "ghcr.io/llm-d/llm-d-inference-sim:v1": (["--model", "m"], [], ("vllm", ("m",), 8000)),
    "ghcr.io/ggml-org/llama.cpp:server-cuda": (["-hf", "org/m:Q4"], [], ("llama-cpp", ("org/m:Q4",), 8080)),
    "ghcr.io/ggml-org/llama.cpp:server": (
        [], env(LLAMA_ARG_MODEL="/m/tiny.gguf", LLAMA_ARG_PORT="82"), ("llama-cpp", ("tiny",), 82),
    ),
    "ghcr.io/huggingface/text-generation-inference:3": (
        [], env(MODEL_ID="org/m", PORT="83"), ("tgi", ("org/m",), 83),
    ),
    "ghcr.io/huggingface/text-generation-inference": (["--model-id", "org/m"], [], ("tgi", ("org/m",), 80)),
    "docker.io/seldonio/mlserver:1.6": ([], env(MLSERVER_MODEL_NAME="m"), ("mlserver", ("m",), 8080)),
    "openvino/model_server:2025": (
        ["--rest_port", "84", "--model_name", "m"], [], ("openvino", ("m",), 84),
    ),
}  # fmt: skip


@pytest.mark.parametrize("image", IMAGES)
def test_images_that_start_engines_by_themselves(image: str) -> None:
    args, variables, expected = IMAGES[image]
    reading = read(image, args=args, env=variables)
    assert (reading.runtime, reading.names, reading.port) == expected and not reading.gaps


def test_an_image_is_known_by_its_whole_name() -> None:
    assert of_image("evil/notvllm/vllm-openai-proxy:1") is None and of_image("my-vllm/vllm-openai") is None


SERVE = ["vllm", "serve", "org/m"]
SECRET = {"name": "NAME", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
GAPS: dict[str, tuple[dict[str, Any], str, str]] = {
    "a variable of a Secret": (
        {"command": [*SERVE, "--served-model-name", "$(NAME)"], "env": [SECRET]}, "model", "NAME",
    ),
    "a variable that nobody sets": ({"command": ["sh", "-c", "vllm serve $MODEL"]}, "model", "$MODEL"),
    "a variable of a ConfigMap": (
        {"command": ["sh", "-c", "vllm serve m --port ${PORT:-80}"], "envFrom": [{"configMapRef": {"name": "c"}}]},
        "port", "${PORT:-80}",
    ),
    "a file": ({"command": [*SERVE, "--config", "/etc/v.yaml"]}, "model", "--config"),
    "arguments in a variable": ({"command": ["sh", "-c", "vllm serve m $MORE"]}, "model", "$MORE"),
    "no model": ({"command": ["vllm", "serve", "--port", "80"]}, "model", "--served-model-name"),
    "no number": ({"command": [*SERVE, "--port", "http"]}, "port", "'http'"),
    "no port at all": ({"command": ["ovms", "--model_name", "m"]}, "port", "--rest_port"),
    "loopback": ({"command": [*SERVE, "--host", "127.0.0.1"]}, "port", "0.0.0.0"),
    "loopback by default": (
        {"command": ["python3", "-m", "sglang.launch_server", "--model-path", "m"]}, "port", "add --host 0.0.0.0",
    ),
    "TLS": ({"command": [*SERVE, "--ssl-certfile", "/c", "--ssl-keyfile", "/k"]}, "port", "HTTPS"),
    "a script": ({"command": ["/start.sh"]}, "engine", "/start.sh"),
    "a script for a shell": ({"command": ["bash", "/start.sh"]}, "engine", "bash /start.sh"),
    "a script of an image that is known": ({"command": ["/s.sh"], "image": "vllm/vllm-openai"}, "port", "/s.sh"),
    "an image that is not known": ({}, "engine", "it has no command"),
    "a here-document": ({"command": ["sh", "-c", "cat <<EOF\nEOF\nvllm serve m"]}, "engine", "here-document"),
    "a worker": ({"command": [*SERVE, "--headless"]}, "engine", "answers no requests"),
    "two servers": (
        {"command": ["sh", "-c", "vllm serve a --port 1 & vllm serve b --port 2"]}, "engine", "several servers",
    ),
    "a name with a comma": ({"command": ["vllm", "serve", "a,b"]}, "model", "'a,b'"),
}  # fmt: skip


@pytest.mark.parametrize("case", GAPS)
def test_what_cannot_be_read_is_a_gap_that_says_what_hides_it(case: str) -> None:
    container, field, words = GAPS[case]
    reading = read(**{"image": "own/image", **container})
    assert any(gap.field == field and words in gap.why for gap in reading.gaps), reading
    assert not (reading.names if field == "model" else reading.runtime if field == "engine" else ())


def test_a_leader_is_read_where_workers_have_another_branch() -> None:
    script = """
    if [ "$LWS_WORKER_INDEX" = 0 ]; then
      ray start --head --port=6379
      exec vllm serve org/m --tensor-parallel-size 16 --port ${PORT:-8080}
    else
      ray start --address $LWS_LEADER_ADDRESS:6379 --block
      vllm serve org/m --headless
    fi
    """
    reading = read(command=["bash", "-c", script])
    assert (reading.names, reading.port, reading.gaps) == (("org/m",), 8080, ())


def test_what_hides_a_port_leaves_the_one_that_is_declared() -> None:
    command = ["sh", "-c", "vllm serve m --served-model-name a $MORE"]
    ports = [{"containerPort": 8123, "name": "http"}, {"containerPort": 9, "name": "x"}]
    reading = read(command=command, ports=ports)
    assert (reading.port, reading.gaps) == (8123, ()) and "8123" in reading.notes[0]
    assert read(command=command, ports=ports, probe=False).gaps[0].field == "port"
    # One that is on the command line is not asked of the declarations.
    assert read(command=[*SERVE, "--port", "1"], ports=ports).port == 1


def test_the_last_of_a_flag_counts() -> None:
    reading = read(command=[*SERVE, "--port", "1", "--served-model-name", "a", "--port=2", "--served-model-name", "b"])
    assert (reading.port, reading.names) == (2, ("b",))


def test_adapters_that_are_loaded_at_the_start_have_names() -> None:
    modules = ["sql=/a", '{"name": "fr", "path": "/b", "base_model_name": "m"}']
    assert read(command=[*SERVE, "--enable-lora", "--lora-modules", *modules]).adapters == ("sql", "fr")


def test_what_makes_serving_less_good_is_noted() -> None:
    assert read(command=SERVE).notes == ()
    assert "readinessProbe" in read(command=SERVE, probe=False).notes[0]
    assert "--disable-log-stats" in read(command=[*SERVE, "--disable-log-stats"]).notes[0]
    assert "--enable-metrics" in read(command=["sglang", "serve", "--model-path", "m", "--host", "::"]).notes[0]


def test_of_several_engines_in_a_pod_one_has_to_be_named() -> None:
    containers = [{"name": name, "image": "i", "command": ["vllm", "serve", name]} for name in ("a", "b")]
    assert "a, b all start an engine" in read_containers(containers).gaps[0].why
    assert read_containers(containers, "b").names == ("b",)
    assert "there are a, b" in read_containers(containers, "c").gaps[0].why


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "image": st.sampled_from(["vllm/vllm-openai", "x", "", "a/b:c@d"]),
            "command": st.lists(st.sampled_from(["sh", "-c", "vllm", "serve", "--port", "$X", "a b", "'", "$(Y)"])),
            "args": st.lists(st.text(alphabet="-=p$(){}'\" ", max_size=6)),
            "env": st.lists(st.fixed_dictionaries({"name": st.just("X")}, optional={"value": st.text(max_size=5)})),
        },
    )
)
def test_any_container_is_read_or_has_gaps(container: dict[str, Any]) -> None:
    reading = read_containers([{"name": "c", **container}])
    missing = {"engine": not reading.runtime, "model": not reading.names, "port": not reading.port}
    assert all(any(gap.field == field for gap in reading.gaps) for field, is_missing in missing.items() if is_missing)
