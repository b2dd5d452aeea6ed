"""Tiles from archive to shard: geometry, decoding, measurements, overlaps, stains, and the HDF5 files that training reads."""
