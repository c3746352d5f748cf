"""What the benchmarks share: the form of their reports, and a platform or API server to measure."""
