"""Text without a model: tokens, words, and texts that satisfy a schema or a pattern."""
