"""What an engine may be in a hand-off of KV caches, and what it does when one cannot be had."""

ROLES = ("unified", "prefill", "decode")
POLICIES = ("fail", "recompute")
