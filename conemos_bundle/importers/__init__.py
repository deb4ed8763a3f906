"""Data sets that have no datalist yet."""
