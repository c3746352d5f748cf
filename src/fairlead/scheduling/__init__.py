"""Which node each pod goes to, and why not."""
