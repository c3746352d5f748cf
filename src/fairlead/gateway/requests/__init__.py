"""Requests for models, read once: which model, which prompt, how long, and nothing that routing does not need."""
