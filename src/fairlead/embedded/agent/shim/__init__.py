"""The small program between the agent and each container, which outlives the agent: it starts the container's program,
carries its output to the log, and records its exit on disk.

It runs with `python -I -S` and imports only the standard library, so that it starts in a few milliseconds.
"""
