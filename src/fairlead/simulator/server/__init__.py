"""A vLLM-compatible server around the engine model, in wall-clock time: `fairlead engine simulated`."""
