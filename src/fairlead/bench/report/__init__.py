"""Reports of a run, each from its summary: JSON, the terminal, a page of HTML, and llm-d's Benchmark Report."""
