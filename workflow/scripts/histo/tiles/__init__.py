"""Tiles from archive to shard: decoding, measurements, overlaps, stain normalisation, HDF5 shards.

Imported by `training`, by `pages` and by the scripts.
"""
