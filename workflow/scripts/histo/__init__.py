"""What two or more stages share: tiles, shards, tables, networks, metrics, provenance."""
