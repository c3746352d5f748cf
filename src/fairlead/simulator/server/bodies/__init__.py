"""Bodies of requests in every API the server speaks, checked in the words of vLLM."""
