"""Servers as they see themselves while a run goes on: their pages read beside the load, aligned in time, and what they
took and cost. `observer` reads, all else is pure."""
