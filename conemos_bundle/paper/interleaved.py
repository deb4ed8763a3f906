"""Timing several calls side by side: a machine that slows down slows all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping


def interleaved_seconds(
    calls: Mapping[str, Callable[[], object]], rounds: int, clock: Callable[[], float] | None = None
) -> dict[str, list[float]]:
    """The seconds of each call in each of ``rounds``, which make every call once and start with another each time.

    What a first call does besides (allocating memory, choosing algorithms) is the caller's to have done before.
    ``clock`` gives seconds; None: `time.perf_counter`.
    """
    clock = clock or time.perf_counter
    names = list(calls)
    taken: dict[str, list[float]] = {name: [] for name in names}
    for i in range(rounds):
        shift = i % max(1, len(names))
        for name in names[shift:] + names[:shift]:
            started = clock()
            calls[name]()
            taken[name].append(clock() - started)
    return taken
