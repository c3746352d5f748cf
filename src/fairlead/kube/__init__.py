"""Kubernetes for Python operators: typed objects, an async client, informers, and a controller runtime."""
