"""The metrics page of vLLM, series by series, cheap enough for the path of tokens."""
