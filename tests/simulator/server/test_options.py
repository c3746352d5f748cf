"""Options of the simulated engine: what they come to, and what is wrong with those that make no server."""

from __future__ import annotations

import asyncio
import json
import sys

import aiohttp
import pytest

from fairlead.perf.step import LinearCost
from fairlead.simulator.engine import EngineSettings
from fairlead.simulator.profile import EngineProfile, FrontendCost, save_profile
from fairlead.simulator.server.options import parse
from fairlead.simulator.server.pace import PacedCost
from fairlead.simulator.server.serve import Parts
from patience import PATIENCE_S


def test_flags_become_settings():
    settings = parse(
        [
            "--model", "m", "--max-num-seqs", "4000", "--block-size", "32", "--num-gpu-blocks-override", "77",
            "--no-enable-prefix-caching", "--speculative-config", '{"num_speculative_tokens": 2, "method": "ngram"}',
            "--enable-lora", "--max-loras", "3", "--jitter", "0.1",
        ]
    ).settings  # fmt: skip
    assert (settings.max_num_seqs, settings.block_tokens, settings.num_blocks) == (4000, 32, 77)
    assert not settings.prefix_caching
    assert settings.speculation.tokens == 2
    assert settings.max_num_batched_tokens == 12_000, "every sequence can decode with its drafts"
    assert (settings.adapters.max_loras, settings.adapters.max_cpu_loras) == (3, 3)
    assert settings.jitter == 0.1


def test_paced_costs_are_the_two_durations():
    options = parse(["--model", "m", "--ttft-ms", "50", "--itl-ms", "5"])
    assert not options.settings.async_scheduling
    engine = Parts(options).driver.ranks[0].engine
    assert engine.cost == PacedCost(0.05, 0.005)


def test_a_profile_gives_settings_and_costs_and_flags_go_first(tmp_path):
    path = tmp_path / "profile.json"
    cost = LinearCost(0.01, 1e-5, 0.0, 1e-4, 1e-8)
    save_profile(
        EngineProfile(EngineSettings(num_blocks=99, max_num_seqs=7), cost, FrontendCost(response_s=0.01)), path
    )
    options = parse(["--model", "m", "--costs", str(path), "--max-num-seqs", "9"])
    assert (options.settings.num_blocks, options.settings.max_num_seqs) == (99, 9)
    assert options.settings.async_scheduling
    assert Parts(options).driver.ranks[0].engine.cost == cost


def test_hardware_gives_costs_and_capacity(tmp_path):
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256,
        "max_position_embeddings": 131072, "torch_dtype": "bfloat16", "tie_word_embeddings": False,
    }  # fmt: skip
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    flags = ["--model", "m", "--accelerator", "H100-SXM", "--model-config", str(path)]
    one, two = parse(flags), parse([*flags, "--tensor-parallel-size", "2"])
    assert 10_000 < one.settings.num_blocks < two.settings.num_blocks
    assert one.settings.max_model_len == 131_072
    assert two.hardware.step_s(0, 0, 1, 1000) < one.hardware.step_s(0, 0, 1, 1000)
    assert parse([*flags, "--num-gpu-blocks-override", "500"]).settings.num_blocks == 500


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--port", "70000"], "a port is 0 to 65535"),
        (["--max-num-seqs", "0"], "must be at least 1"),
        (["--itl-ms", "-1"], "milliseconds from 0"),
        (["--jitter", "2"], "jitter is 2.0"),
        (["--max-num-seqs", "8", "--max-num-batched-tokens", "4"], "max_num_batched_tokens is 4"),
        (["--speculative-config", "{}"], "num_speculative_tokens"),
        (["--speculative-config", '{"num_speculative_tokens": 2, "acceptance": 3}'], "speculation.acceptance is 3.0"),
        (["--lora-modules", "style"], "NAME=PATH"),
        (["--answer-tokens", "9-3"], "the lower number first"),
        (["--failure", "explode"], "is unknown: take latency"),
        (["--failure", "crash=x"], "has no number"),
        (["--failure", "error=99"], "status is from 400"),
        (["--failure", "hang:7"], "probability is from 0 to 1"),
        (["--costs", "/nowhere.json"], "cannot read the profile"),
        (["--accelerator", "H100-SXM"], "--model-config"),
        (["--accelerator", "Z9", "--model-config", "x"], "Z9"),
        (["--role", "both"], "invalid choice"),
        (["--enable-lora", "--max-loras", "4", "--max-cpu-loras", "2"], "max_cpu_loras is 2"),
    ],
)
def test_options_that_make_no_sense_are_named(flags, says, capsys):
    with pytest.raises(SystemExit) as stopped:
        parse(["--model", "m", *flags])
    assert stopped.value.code == 2
    assert says in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "status", "says"),
    [
        (("--tokenizer", "/nowhere"), 2, "--tokenizer: /nowhere/tokenizer.json does not exist"),
        (("--submit-log", "/nowhere/log"), 2, "cannot open /nowhere/log: No such file"),
        (
            ("--kv-events-config", '{"endpoint": "ipc:///nowhere/x"}'),
            2,
            "cannot open KV events of rank 0 at ipc:///nowhere/x",
        ),
        (("--role", "decode", "--kv-transfer-port", "1", "--host", "127.0.0.1"), 2, "cannot open 127.0.0.1:1"),
        (("--costs", "EMPTY"), 2, "--costs: the profile has no cost"),
        (("--host", "127.0.0.1", "--port", "1"), 1, "cannot listen on 127.0.0.1:1"),
    ],
)
async def test_a_server_that_cannot_start_says_why(tmp_path, flags, status, says):
    empty = tmp_path / "empty.json"
    empty.write_text("{}")
    if says.endswith("127.0.0.1:1") and _may_bind_low_ports():
        pytest.skip("this user may bind port 1")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fairlead.simulator.server", "--model", "m", "--port", "0",
        *(str(empty) if flag == "EMPTY" else flag for flag in flags),
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, error = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    assert (process.returncode, error.decode().startswith(says)) == (status, True), error


async def test_the_frontends_time_is_paid_outside_the_engine(engine, tmp_path):
    path = tmp_path / "profile.json"
    frontend = FrontendCost(request_s=0.1, prompt_token_s=0.001, response_s=0.05)
    save_profile(EngineProfile(cost=LinearCost(0.001, 0.0, 0.0, 0.0, 0.0), frontend=frontend), path)
    one = await engine("--costs", str(path))
    loop = asyncio.get_running_loop()
    body = {"model": "tiny", "prompt": [1] * 100, "max_tokens": 1}
    async with aiohttp.ClientSession() as session:
        began_s = loop.time()
        async with session.post(one.url + "/v1/completions", json=body) as response:
            assert response.status == 200
        assert loop.time() - began_s >= 0.1 + 100 * 0.001 + 0.05
        async with session.get(one.url + "/metrics") as response:
            page = await response.text()
    line = next(each for each in page.splitlines() if each.startswith("vllm:e2e_request_latency_seconds_sum"))
    assert float(line.split()[-1]) < 0.1, "the engine knows nothing of it"


def _may_bind_low_ports():
    import socket

    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", 1))
        except OSError:
            return False
        return True
