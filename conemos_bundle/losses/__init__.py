"""Losses over annotated regions."""

from conemos_bundle.losses.region_loss import RegionLoss
from conemos_bundle.losses.warm_up import LogitL2Loss, WarmUpLoss

__all__ = ["LogitL2Loss", "RegionLoss", "WarmUpLoss"]
