"""Pods that go together: where their description is found, and where all of them fit."""
