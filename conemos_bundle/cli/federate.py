"""`conemos federate`: one network of several sites, whose scans stay where they are, by NVIDIA FLARE."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from conemos_bundle.cli.next_step import say_next
from conemos_bundle.errors import UsageError
from conemos_bundle.hosts.federated.job import make_job
from conemos_bundle.utils.extras import require_extra
from conemos_bundle.utils.nearest import check_path


def federate(
    *datalists: str,
    output: str = "runs/federated",
    rounds: int = 10,
    local_steps: int = 200,
    method: str = "",
    region_wise: bool = True,
    at_once: int | None = None,
    job: str | None = None,
    kit: str | None = None,
    regions: Sequence[str] = (),
    sites: Sequence[str] = (),
    **options: Any,
) -> None:
    """Train one network over several sites with different annotated regions, on this machine in FLARE's simulator.

    Nothing but weights, counts and Dice leaves a site. The same command goes on with what was interrupted. With
    ``--job`` or ``--kit`` nothing is trained: what real sites need is written.

    Args:
        datalists: the datalist of each site; all name the same regions, in the same order.
        output: folder of the run.
        rounds: how often the sites' weights are averaged.
        local_steps: training steps at each site in a round.
        method: empty for CoNeMOS, or ``psl_loss``, ``multi_layer``, ``multi_decoder``, ``dodnet`` or ``individual``.
        region_wise: average a region's own weights over the sites that annotate it; False: all weights over all sites.
        at_once: sites that train at once; default: all.
        job: a new folder to write a job for FLARE's ``submit_job`` into, instead of the simulation.
        kit: a startup kit of ``nvflare provision``, of the server or of a site: allow it this job alone, send no logs.
        regions: of such a job, in the order of the sites' datalists.
        sites: of such a job: the sites' names in FLARE's project.
        options: settings of training: ``--channels "[8,16,32]" --learning_rate 1e-3 --spacing "[1,1,1]" --seed 0 …``

    Raises:
        UserError: sites do not go together, or something in their data or the options is wrong.
    """
    if kit is not None:
        from conemos_bundle.hosts.federated.kits import restrict_kit

        print(f"wrote {restrict_kit(check_path(str(kit), is_folder=True))}")
        return
    if job is not None:
        _write_job(
            Path(str(job)).expanduser(),
            datalists,
            make_job(regions, sites, rounds, local_steps, method, options, region_wise),
        )
        return
    if regions or sites:
        raise UsageError("--regions and --sites are of a --job; the simulation takes them from the datalists")
    if len(datalists) < 2:
        raise UsageError("give the datalists of two sites or more, or --job; see 'conemos federate --help'")
    if at_once is not None and at_once < 1:
        raise UsageError(f"--at_once {at_once}: give a number of at least 1")
    files = [check_path(str(file), is_folder=False) for file in datalists]
    names = [f"site-{i}" for i in range(1, len(files) + 1)]
    make_job(["region"], names, rounds, local_steps, method, options, region_wise)  # before anything is read

    require_extra("nvflare", "federated", "NVIDIA FLARE")
    logging.basicConfig(stream=sys.stdout, format="%(message)s")
    from conemos_bundle.data.datalist import read_datalist
    from conemos_bundle.hosts.federated.rounds import common_plan
    from conemos_bundle.hosts.federated.simulate import simulate
    from conemos_bundle.hosts.federated.site import describe

    names_of_regions = read_datalist(files[0]).regions
    whole = make_job(names_of_regions, names, rounds, local_steps, method, options, region_wise)
    told = {name: describe(file, names_of_regions) for name, file in zip(names, files, strict=True)}
    plan = common_plan(whole, told)
    print(f"plan: {plan.patch_size} voxels of {plan.spacing} mm, {plan.in_channels} channel(s)")
    for name, file in zip(names, files, strict=True):
        masks = zip(names_of_regions, told[name]["annotated"][0].tolist(), strict=True)
        print(f"{name}: {file}: {', '.join(f'{region} {count}' for region, count in masks)}", flush=True)
    folder = Path(str(output)).expanduser()
    simulate(whole, files, folder, min(at_once or len(files), len(files)))
    print(f"training is complete: {folder} holds the weights (model.pt), their record (run.json) and rounds.csv")
    print(f"what each site has sent: {folder / 'sites'}{'/*/sent.csv'}")
    say_next("predict", "SCAN", "--model", str(folder))


def _write_job(folder: Path, datalists: Sequence[str], job: Any) -> None:
    if datalists:
        raise UsageError("--job takes --regions and --sites: each site names its datalist itself")
    if folder.exists():
        raise UsageError(f"{folder}: exists; name a new folder with --job")
    from conemos_bundle.hosts.federated.simulate import write_flare_job

    write_flare_job(job, folder)
    print(f"wrote {folder}\nnext: nvflare job submit -j {folder} --startup-kit KIT (docs/federated.md)")
