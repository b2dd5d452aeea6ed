"""Settings: one file per section, with types, ranges, defaults and descriptions; and the checks between sections.

Imported by the rules, by `training` and by the scripts that train. It computes no result, so it has no fingerprint.
"""
