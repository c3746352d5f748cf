"""What a machine can run, and why not."""

import json
import subprocess
import sys

import pytest

from fairlead.cli.app import run
from fairlead.engines import ENGINES
from fairlead.engines.machine import Machine, Verdict, judge
from patience import PATIENCE_S


def verdicts(machine: Machine) -> dict[str, Verdict]:
    return {v.runtime: v for v in judge(ENGINES.values(), machine)}


def test_a_bare_machine_runs_nothing_and_says_why():
    judged = verdicts(Machine({}, {}, frozenset()))
    assert set(judged) == set(ENGINES)
    for verdict in judged.values():
        assert not verdict.can_run
        assert verdict.version is verdict.path is None
        assert all(verdict.reasons)
    assert judged["tgi"].reasons[1] == "needs an accelerator (nvidia or amd), and there is none here"
    assert judged["jetstream"].reasons[0].startswith("google-jetstream is not installed")


def test_a_cpu_is_enough_for_vllm_and_not_for_its_tpu_twin():
    judged = verdicts(Machine({"vllm": "/v/bin/vllm"}, {"vllm": "0.32.0+cpu"}, frozenset()))
    assert (judged["vllm"].can_run, judged["vllm"].version, judged["vllm"].path) == (True, "0.32.0+cpu", "/v/bin/vllm")
    assert not judged["vllm-tpu"].can_run


def test_an_accelerator_of_any_kind_that_fits_will_do():
    machine = Machine({"text-generation-launcher": "/t", "python3": "/p"}, {}, frozenset({"amd"}))
    judged = verdicts(machine)
    assert judged["tgi"].can_run
    assert judged["tgi"].version is None
    assert not judged["jetstream"].can_run


def test_the_command_knows_what_ships_with_it(capsys):
    assert run(["engines", "-o", "json"]) == 0
    judged = {v["runtime"]: v for v in json.loads(capsys.readouterr().out)}
    assert set(judged) == set(ENGINES)
    assert judged["simulated"]["can_run"]
    assert all(v["reasons"] or v["can_run"] for v in judged.values())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["127.0.0.1:1", "--runtime", "vllm"], "give it as http://HOST:PORT"),
        (["http://127.0.0.1:1", "--runtime", "nope"], "unknown runtime 'nope'"),
        (["http://127.0.0.1:1", "--runtime", "vllm", "--adapter", "x"], "give it as NAME=PATH"),
        (["http://127.0.0.1:1", "--runtime", "vllm"], "does not list its models"),
        (["http://127.0.0.1:1", "--runtime", "triton"], "say which model with --model"),
    ],
)
def test_check_refuses_what_it_cannot_examine(arguments, said):
    command = (sys.executable, "-m", "fairlead.cli.main", "engines", "check", *arguments)
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
