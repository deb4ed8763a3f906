"""CoNeMOS Bundle: one network, trained on partially annotated scans, segments the region it is asked for."""

__version__ = "0.1.0"
