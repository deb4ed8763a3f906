"""Which scan and region is worth annotating next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def least_confident(
    confidences: Mapping[str, Mapping[str, float]],
    annotated: Mapping[str, Any],
    served: Mapping[str, Mapping[str, float]],
    now: float,
    pause: float = 3600,
) -> tuple[str, str] | None:
    """The scan and the region that the network is least sure of, among those that nobody has annotated.

    Args:
        confidences: of each scan, that of each region.
        annotated: of each scan, the regions that are annotated.
        served: of each scan, when each region was proposed, in seconds.
        now: the time, in seconds.
        pause: seconds for which a pair is not proposed again, unless no other is left: two annotators get two pairs.

    Returns:
        scan and region; None where everything is annotated.
    """
    pairs = [
        (scan, region)
        for scan, regions in confidences.items()
        for region in regions
        if region not in annotated.get(scan, ())
    ]

    def last(pair: tuple[str, str]) -> float:
        return served.get(pair[0], {}).get(pair[1], float("-inf"))

    fresh = [pair for pair in pairs if now - last(pair) >= pause]
    if fresh:
        return min(fresh, key=lambda pair: (confidences[pair[0]][pair[1]], pair))
    return min(pairs, key=last) if pairs else None
