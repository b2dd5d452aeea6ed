"""HTML pages: layout, charts as SVG, galleries of tiles and mosaics of overlapping tiles.

Imported only by the scripts that write a page.
"""
