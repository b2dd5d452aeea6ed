"""Code that two or more stages share, in rooms. The modules directly here are the base: any room may import them."""
