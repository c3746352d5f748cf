"""A Kubernetes API server in one process: HTTPS on loopback, objects in SQLite, no kind known to its handlers."""
