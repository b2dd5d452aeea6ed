"""Settings: one file per section with types, ranges, defaults and descriptions. Nothing here computes a result."""
