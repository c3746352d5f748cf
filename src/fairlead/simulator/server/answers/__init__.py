"""Answers in the form of every API: whole, and as server-sent events."""
