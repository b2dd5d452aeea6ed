"""HTML pages: layout, charts as SVG, galleries of tiles, mosaics of overlapping tiles. For the scripts that write a page."""
