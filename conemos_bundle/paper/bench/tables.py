"""The tables of a benchmark, from measurements alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from conemos_bundle.paper.bench.groups import Result
from conemos_bundle.paper.parts import Table, markdown


def ratio(values: Sequence[float], peer: Sequence[float]) -> float:
    """The median over rounds of a variant's value divided by its peer's in the same round."""
    return float(np.median(np.divide(values, peer)))


def figure(value: float) -> str:
    """Three digits, all of those before the point."""
    return f"{value:#.3g}".rstrip(".") if value < 1000 else f"{value:.0f}"


def result_table(result: Result, rates: Mapping[str, float]) -> str:
    """A result in Markdown: medians, quartiles, ratios to the peers, and the share of the matrix-product rate.

    Args:
        result: what was measured.
        rates: per dtype, multiplications per second of a matrix product.
    """
    group = result.group
    timed = result.unit == "s"
    peers = [peer for peer in group.peers if peer in result.values]
    header = ["", "median, ms", "quartiles"] if timed else ["", result.unit]
    header += [f"/ {peer}" for peer in peers]
    if group.dtype:
        header += ["G multiplications", "share"]
    rows = []
    for name, values in result.values.items():
        low, middle, high = np.quantile(values, (0.25, 0.5, 0.75)) * (1000 if timed else 1)
        row = [name, figure(middle)] + ([f"{figure(low)} to {figure(high)}"] if timed else [])
        row += [f"{ratio(values, result.values[peer]):.2f}" for peer in peers]
        if group.dtype:
            count = result.multiplications[name]
            share = count / float(np.median(values)) / rates[group.dtype]
            row += [figure(count / 1e9), f"{100 * share:.0f}%"]
        rows.append(row)
    text = f"### {group.title}\n\n" + (markdown(Table(header, rows)) if rows else "Nothing was measured.\n")
    if result.left_out:
        text += "\nLeft out: " + "; ".join(f"{name} {why}" for name, why in result.left_out.items()) + ".\n"
    return text


def measurements(results: Sequence[Result]) -> pd.DataFrame:
    """Every measurement, a row each: part, group, variant, round (from 1), and its seconds or MiB."""
    columns = ["part", "group", "variant", "round", "seconds", "mib"]
    rows = [
        (result.group.part, result.group.title, name, i, *((value, None) if result.unit == "s" else (None, value)))
        for result in results
        for name, values in result.values.items()
        for i, value in enumerate(values, start=1)
    ]
    return pd.DataFrame(rows, columns=columns)
