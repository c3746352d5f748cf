"""Where pools come from: the Kubernetes API, or a file."""
