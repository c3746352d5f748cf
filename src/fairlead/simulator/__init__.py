"""One engine model under two clocks: virtual time for studies, wall clock behind a vLLM-compatible server."""

from fairlead.simulator.engine import EngineSettings, SimulatedEngine

__all__ = ["EngineSettings", "SimulatedEngine"]
