"""Settings: their types, ranges and defaults, and what they must not contradict. For the Snakefile and the scripts; nothing here computes a result."""
