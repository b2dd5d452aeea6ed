"""HTML pages: layout, charts as SVG, galleries of tiles and mosaics of overlapping tiles."""
