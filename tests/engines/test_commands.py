"""Command lines of each adapter, and what each refuses."""

import json

import pytest

from fairlead.engines import (
    ENGINES,
    Adapter,
    AdapterSettings,
    CacheSettings,
    EngineSourceError,
    EngineSpec,
    EngineSpecError,
    KvEventPublishing,
    KvTransfer,
    Parallelism,
    UnknownRuntime,
    engine_for,
)

LORA = AdapterSettings((Adapter("style", "/lora"),), max_count=2, max_rank=16)
EVENTS = KvEventPublishing("tcp://*:5600", "tcp://*:5601", "kv@10.0.0.1:8000@m", buffer_steps=100)


def command(runtime: str, **fields: object) -> tuple[str, ...]:
    return engine_for(runtime).command(EngineSpec("m", **{"source": "/models/m", **fields})).argv


def value_of(argv: tuple[str, ...], name: str) -> str:
    return argv[argv.index(name) + 1]


def test_unknown_runtime_lists_the_known():
    with pytest.raises(UnknownRuntime, match="vllm"):
        engine_for("llama")


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_every_engine_serves_one_model_on_one_device(engine):
    spec = EngineSpec("m", source="/models/m", command=("program",), args=("--last", "1"), port=8123)
    built = engine.command(spec)
    assert built.argv[0] == "program"
    assert built.argv[-2:] == ("--last", "1")
    port = "8123"
    assert any(port in part for part in (*built.argv, *built.env.values())) or engine.runtime == "jetstream"
    assert engine.member_commands(spec) == (built,)


def test_vllm_serves_a_path_under_every_name():
    spec = EngineSpec("m", aliases=("n", "m"), source="/models/m", args=("--max-model-len", "512"))
    assert engine_for("vllm").command(spec).argv == (
        "vllm", "serve", "/models/m", "--served-model-name", "m", "n", "--host", "$(POD_IP)", "--port", "8000",
        "--shutdown-timeout", "25", "--max-model-len", "512",
    )  # fmt: skip


@pytest.mark.parametrize(("source", "argument"), [("file:///a/b", "/a/b"), ("hf://org/name", "org/name"), ("/x", "/x")])
def test_vllm_sources(source, argument):
    assert command("vllm", source=source)[2] == argument


@pytest.mark.parametrize("source", ["", "s3://bucket/x", "hf://", "file://relative"])
@pytest.mark.parametrize("runtime", sorted(set(ENGINES) - {"simulated", "onnx"}))
def test_sources_that_cannot_be_loaded_are_refused(runtime, source):
    with pytest.raises(EngineSourceError, match=f"runtime {runtime} cannot serve model source") as refused:
        command(runtime, source=source)
    assert refused.value.value == source


def test_vllm_with_everything_on_one_host():
    argv = command(
        "vllm",
        parallelism=Parallelism(tensor=2, pipeline=2, data=2, expert=4),
        adapters=LORA,
        cache=CacheSettings(32, 0.8, "fp8", prefix_caching=False, offload_bytes=4 * 2**30),
        max_context_tokens=4096,
        kv_events=EVENTS,
    )
    for name, value in {
        "--tensor-parallel-size": "2", "--pipeline-parallel-size": "2", "--data-parallel-size": "2",
        "--max-model-len": "4096", "--block-size": "32", "--gpu-memory-utilization": "0.8", "--kv-cache-dtype": "fp8",
        "--kv-offloading-size": "4.0", "--max-loras": "2", "--max-lora-rank": "16", "--lora-modules": "style=/lora",
    }.items():  # fmt: skip
        assert value_of(argv, name) == value
    assert {"--enable-expert-parallel", "--enable-lora", "--no-enable-prefix-caching"} <= set(argv)
    assert json.loads(value_of(argv, "--kv-events-config")) == {
        "enable_kv_cache_events": True,
        "publisher": "zmq",
        "endpoint": "tcp://*:5600",
        "replay_endpoint": "tcp://*:5601",
        "topic": "kv@10.0.0.1:8000@m",
        "buffer_steps": 100,
    }


def test_vllm_adapters_can_come_later():
    built = engine_for("vllm").command(EngineSpec("m", source="/m", adapters=AdapterSettings()))
    assert built.env["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "True"
    assert "--lora-modules" not in built.argv


def test_vllm_over_hosts_is_one_group():
    spec = EngineSpec("m", source="/m", parallelism=Parallelism(tensor=8, pipeline=2, hosts=2))
    leader, worker = engine_for("vllm").member_commands(spec)
    for member in (leader, worker):
        assert value_of(member.argv, "--nnodes") == "$(LWS_GROUP_SIZE)"
        assert value_of(member.argv, "--node-rank") == "$(LWS_WORKER_INDEX)"
        assert value_of(member.argv, "--master-addr") == "$(LWS_LEADER_ADDRESS)"
    assert "--headless" not in leader.argv
    assert "--headless" in worker.argv


def test_vllm_data_parallel_ranks_are_spread_over_hosts():
    spec = EngineSpec("m", source="/m", parallelism=Parallelism(tensor=2, data=6, hosts=3))
    leader, *workers = engine_for("vllm").member_commands(spec)
    assert value_of(leader.argv, "--data-parallel-size") == "6"
    assert value_of(leader.argv, "--data-parallel-size-local") == "2"
    assert [value_of(w.argv, "--data-parallel-start-rank") for w in workers] == ["2", "4"]
    one_each = EngineSpec("m", source="/m", parallelism=Parallelism(data=3, hosts=3))
    workers = engine_for("vllm").member_commands(one_each)[1:]
    assert {value_of(w.argv, "--data-parallel-start-rank") for w in workers} == {"$(LWS_WORKER_INDEX)"}


@pytest.mark.parametrize("role", ["prefill", "decode"])
def test_vllm_roles(role):
    built = engine_for("vllm").command(EngineSpec("m", source="/m", role=role))
    kv_role = {"prefill": "kv_producer", "decode": "kv_consumer"}[role]
    config = json.loads(value_of(built.argv, "--kv-transfer-config"))
    assert config == {"kv_connector": "NixlConnector", "kv_role": kv_role}
    assert built.env["VLLM_NIXL_SIDE_CHANNEL_PORT"] == "5600"
    other = engine_for("vllm").command(
        EngineSpec("m", source="/m", role=role, kv_transfer=KvTransfer("P2pNcclConnector", settings={"kv_port": 1}))
    )
    config = json.loads(value_of(other.argv, "--kv-transfer-config"))
    assert config["kv_role"] == kv_role
    assert config["kv_port"] == 1


def test_sglang_with_everything():
    spec = EngineSpec(
        "m",
        source="/m",
        parallelism=Parallelism(tensor=8, data=2, expert=8, hosts=2),
        role="prefill",
        kv_transfer=KvTransfer("nixl", port=9000),
        adapters=LORA,
        cache=CacheSettings(64, 0.85, "fp8_e5m2", prefix_caching=False, offload_bytes=10**11),
        max_context_tokens=8192,
        kv_events=EVENTS,
    )
    leader, worker = engine_for("sglang").member_commands(spec)
    assert leader == worker
    for name, value in {
        "--model-path": "/m", "--served-model-name": "m", "--tp-size": "8", "--dp-size": "2", "--ep-size": "8",
        "--nnodes": "$(LWS_GROUP_SIZE)", "--node-rank": "$(LWS_WORKER_INDEX)",
        "--dist-init-addr": "$(LWS_LEADER_ADDRESS):20000", "--disaggregation-mode": "prefill",
        "--disaggregation-transfer-backend": "nixl", "--disaggregation-bootstrap-port": "9000",
        "--lora-paths": "style=/lora", "--page-size": "64", "--mem-fraction-static": "0.85", "--hicache-size": "100",
        "--context-length": "8192",
    }.items():  # fmt: skip
        assert value_of(leader.argv, name) == value
    assert "--disable-radix-cache" in leader.argv
    assert json.loads(value_of(leader.argv, "--kv-events-config"))["topic"] == EVENTS.topic


def test_trtllm_over_hosts_runs_mpi_from_the_leader():
    spec = EngineSpec("m", source="/m", parallelism=Parallelism(tensor=8, pipeline=2, hosts=2))
    leader, worker = engine_for("tensorrt-llm").member_commands(spec)
    assert '--host "$LWS_LEADER_ADDRESS:8,$leader-1.$domain:8" -n 16 trtllm-llmapi-launch "$0" "$@"' in leader.argv[2]
    assert leader.argv[3:5] == ("trtllm-serve", "/m")
    assert worker.argv[0] == "/usr/sbin/sshd"


def test_trtllm_takes_some_settings_only_with_a_file():
    events = {"kv_events": EVENTS, "args": ("--config", "/etc/trtllm.yaml")}
    assert command("tensorrt-llm", **events)[-2:] == ("--config", "/etc/trtllm.yaml")
    with pytest.raises(EngineSpecError, match=r"kv_events .* --config FILE"):
        command("tensorrt-llm", kv_events=EVENTS)


def test_llama_server_names_and_adapters():
    argv = command("llama-cpp", aliases=("n",), adapters=LORA, max_context_tokens=512, source="/m.gguf")
    assert value_of(argv, "--alias") == "m,n"
    assert value_of(argv, "--lora") == "/lora"
    assert value_of(command("llama-cpp", source="hf://o/m:Q4_K_M"), "--hf-repo") == "o/m:Q4_K_M"


def test_tgi_adapters_are_named_in_the_environment():
    built = engine_for("tgi").command(EngineSpec("m", source="/m", adapters=LORA))
    assert built.env == {"LORA_ADAPTERS": "style=/lora"}


def test_mlserver_is_configured_by_its_environment():
    built = engine_for("mlserver").command(EngineSpec("iris", source="/models/iris", host="127.0.0.1"))
    assert built.argv == ("mlserver", "start", "/models/iris")
    assert built.env["MLSERVER_METRICS_PORT"] == str(engine_for("mlserver").metrics_port)


@pytest.mark.parametrize(
    ("runtime", "fields", "message"),
    [
        ("vllm", {"parallelism": Parallelism(tensor=2, data=2, expert=3)}, r"parallelism.expert 3: .* take 1 or 4"),
        (
            "vllm",
            {"parallelism": Parallelism(tensor=2, data=3, hosts=2)},
            r"parallelism.hosts 2: 3 data-parallel ranks",
        ),
        ("vllm", {"role": "encode"}, r"role 'encode': name the connector"),
        ("vllm-tpu", {"role": "prefill"}, r"role 'prefill'"),
        ("sglang", {"aliases": ("n:8b",)}, r"model name 'n:8b': it takes what follows a colon for an adapter"),
        ("sglang", {"adapters": AdapterSettings()}, r"adapters.max_rank None"),
        ("tensorrt-llm", {"cache": CacheSettings(block_tokens=64)}, r"cache.block_tokens 64"),
        ("triton", {"parallelism": Parallelism(tensor=2)}, r"parallelism.tensor 2: .* config.pbtxt"),
        ("llama-cpp", {"parallelism": Parallelism(tensor=2, pipeline=2)}, r"by rows or by layers"),
        ("llama-cpp", {"adapters": AdapterSettings()}, r"adapters.initial .* name them all"),
        ("llama-cpp", {"kv_events": EVENTS}, r"kv_events"),
        ("furiosa-llm", {"max_context_tokens": 100}, r"max_context_tokens 100: the artifact"),
        ("tgi", {"parallelism": Parallelism(tensor=4, hosts=2)}, r"parallelism.hosts 2"),
        ("jetstream", {"role": "decode"}, r"role 'decode': MaxText"),
        ("mlserver", {"aliases": ("n",)}, r"aliases"),
        ("openvino", {"adapters": LORA}, r"adapters"),
        ("simulated", {"cache": CacheSettings(memory_fraction=0.5)}, r"cache.memory_fraction 0.5"),
    ],
)
def test_what_an_engine_cannot_do_is_refused_with_a_remedy(runtime, fields, message):
    with pytest.raises(EngineSpecError, match=message) as refused:
        command(runtime, **fields)
    assert refused.value.remedy


@pytest.mark.parametrize("fields", [{"tensor": 0}, {"tensor": 3, "hosts": 2}])
def test_parallelism_that_cannot_be(fields):
    with pytest.raises(ValueError, match="parallelism"):
        Parallelism(**fields)


def test_simulated_takes_vllms_settings():
    argv = command(
        "simulated",
        aliases=("n",),
        parallelism=Parallelism(tensor=2, data=2),
        role="prefill",
        kv_transfer=KvTransfer(port=5600),
        adapters=LORA,
        cache=CacheSettings(32, prefix_caching=False),
        max_context_tokens=4096,
        kv_events=EVENTS,
    )
    for name, value in {
        "--model": "m", "--served-model-name": "n", "--tensor-parallel-size": "2", "--data-parallel-size": "2",
        "--role": "prefill", "--kv-transfer-port": "5600", "--max-loras": "2", "--lora-modules": "style=/lora",
        "--block-size": "32", "--max-model-len": "4096",
    }.items():  # fmt: skip
        assert value_of(argv, name) == value
    assert "--no-enable-prefix-caching" in argv
    assert json.loads(value_of(argv, "--kv-events-config"))["endpoint"] == EVENTS.endpoint


def test_simulated_command_can_be_replaced_and_extended():
    argv = command("simulated", command=("python", "-m", "x"), args=("--itl-ms", "5"), drain_s=3)
    assert argv[:3] == ("python", "-m", "x")
    assert argv[-2:] == ("--itl-ms", "5")
    assert value_of(argv, "--drain-timeout-s") == "0"
