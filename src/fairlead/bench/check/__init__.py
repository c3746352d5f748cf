"""What this machine's load generator can do: itself against a server that does nothing but keep time."""
