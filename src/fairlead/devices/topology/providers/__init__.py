"""Where topology is learnt from, one module a source: parsers are pure, readers small."""
