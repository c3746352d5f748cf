"""Runs that are kept: found by name, label and model, compared with each other, and uploaded."""
