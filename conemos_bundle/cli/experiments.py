"""`conemos experiments`: train, evaluate and compare a grid of methods, on one machine or a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from conemos_bundle.errors import UsageError
from conemos_bundle.utils.config_files import check_settings, overlay_files, overlay_names
from conemos_bundle.utils.extras import require_extra
from conemos_bundle.utils.nearest import check_path, suggestion

OPTIONS = (
    "output", "methods", "seeds", "fractions", "conditioned", "dataset_dir", "cores", "threads", "dry_run", "snakemake",
)  # fmt: skip


def experiments(
    source: str,
    output: str = "experiments",
    methods: Sequence[str] = ("conemos", "psl_loss"),
    seeds: Sequence[int] = (0,),
    fractions: Sequence[float] = (1.0,),
    conditioned: Sequence[int | None] = (None,),
    dataset_dir: str | None = None,
    cores: int = 2,
    threads: int = 1,
    dry_run: bool = False,
    snakemake: str = "",
    **settings: Any,
) -> None:
    """Run a grid and write its report; what is done is skipped, what was cut is resumed.

    Args:
        source: a datalist, to compare ``methods`` on, or a grid file (docs/experiments.md), which says everything.
        output: folder of the runs; the report goes to ``report/`` in it.
        methods: ``conemos`` and overlays of ``configs/methods/``.
        seeds: one run each.
        fractions: of the training scans.
        conditioned: numbers of conditioned layers of CoNeMOS; None: all.
        dataset_dir: where the datalist's paths start; default: what the datalist says.
        cores: how many threads all runs together may use on this machine.
        threads: of one run.
        dry_run: only say what would be run.
        snakemake: more options of Snakemake, with ``=`` since they begin with dashes: ``--snakemake="--jobs 20"``.
        settings: settings of every training, such as ``--max_epochs 10``.

    Raises:
        UserError: Snakemake is not installed, the source is neither, there is no CoNeMOS on all training scans to
            compare with, or a run failed.
    """
    check_path(str(source), is_folder=False)
    if dataset_dir is not None:
        check_path(str(dataset_dir), is_folder=True)
    check_settings(list(settings), overlay_files([]), also=OPTIONS)
    for method in [methods] if isinstance(methods, str) else methods:
        if method != "conemos" and method not in overlay_names():
            raise UsageError(
                f"--methods {method}: no such method{suggestion(str(method), ['conemos', *overlay_names()])}"
            )
    require_extra("snakemake", "experiments", "Snakemake")

    from conemos_bundle.paper.experiments import run_experiments

    run_experiments(
        source,
        output,
        methods,
        seeds,
        fractions,
        conditioned,
        dataset_dir,
        cores,
        threads,
        dry_run,
        snakemake,
        settings,
    )
