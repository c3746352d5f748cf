"""The recorded run of the real vLLM: what is fitted on every second round predicts the others."""

from __future__ import annotations

import gzip
from pathlib import Path

from fairlead.simulator.calibration import compare, fit, predict, read_report
from fairlead.simulator.engine import EngineSettings

RECORDED = Path(__file__).parents[2] / "data" / "simulator" / "vllm-0.32-cpu-tiny.jsonl.gz"
SETTINGS = EngineSettings(num_blocks=4096, block_tokens=128, max_num_seqs=64, max_model_len=2048)


def test_rounds_of_the_real_engine_predict_each_other(tmp_path):
    path = tmp_path / "run.jsonl"
    path.write_bytes(gzip.decompress(RECORDED.read_bytes()))
    fitted, held_out = read_report(path).split(0.5)
    assert len(held_out.observations) > 900
    profile = fit(fitted.observations, SETTINGS).profile
    for one in compare(held_out.observations, predict(profile, held_out.observations, seed=1)):
        assert abs(one.error) < (0.1 if one.quantile == 0.5 else 0.2), one
