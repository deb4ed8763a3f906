"""Reports as HTML: one file each, which opens offline and holds its pictures; read in light and dark, wide and narrow.

Texts of others (file names, regions, a model's record) are escaped, and a Content-Security-Policy lets the page load
nothing and run nothing.
"""
