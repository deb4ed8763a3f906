"""Growing: a trained model is taught a region, models are merged; what they could before stays, to the bit."""

from conemos_bundle.growing.merge import merge_regions
from conemos_bundle.growing.teach import add_region

__all__ = ["add_region", "merge_regions"]
