"""What servers saw of themselves in a stage, in what a Benchmark Report leaves open: its energy and cost have no field
there, and a server's percentile is a bucket and no number."""

from __future__ import annotations

import msgspec

from fairlead.bench.summary import RunSummary, StageSummary


def server_said(run: RunSummary, stage: StageSummary) -> dict[str, object]:
    """Under `server`; each engine by itself is in the summary."""
    stages = run.server_side.stages if run.server_side is not None else ()
    said = next((each for each in stages if each.stage == stage.index), None)
    if said is None:
        return {}
    parts = {"engines": said.engines, "gateway": said.gateway, "energy": said.energy, "cost": said.cost}
    known: dict[str, object] = {name: msgspec.to_builtins(of) for name, of in parts.items() if of is not None}
    return {"server": known | ({"notes": list(said.notes)} if said.notes else {})}
