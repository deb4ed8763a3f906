"""Dice and surface distances of regions."""

from conemos_bundle.metrics.dice import dice
from conemos_bundle.metrics.region_metrics import FalsePositiveVolume, RegionDice
from conemos_bundle.metrics.surface_distance import sd95, surface_distances

__all__ = ["FalsePositiveVolume", "RegionDice", "dice", "sd95", "surface_distances"]
