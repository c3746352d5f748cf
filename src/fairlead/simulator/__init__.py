"""One engine model under two clocks: virtual time for studies, wall clock behind a vLLM-compatible server."""
