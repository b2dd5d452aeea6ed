"""Tiles from archive to shard: geometry, decoding, measurements, overlaps, stain normalisation, HDF5 shards."""
