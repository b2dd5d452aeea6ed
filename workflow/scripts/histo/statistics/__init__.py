"""Statistics of predictions: estimates, and intervals that respect groups of tiles.

Tiles of one slide are correlated. All intervals here take the groups of tiles ("clusters") into account.
"""
