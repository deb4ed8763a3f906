"""Does conditioning pay? Methods after equal steps, equal masks and equal time, on one core each.

    python scripts/does_it_pay.py chaos DATA/chaos_t2spir --output pays --seed 0
    python scripts/does_it_pay.py rare DATA/hippocampus --output pays --methods "[psl_loss, conemos]" --budgets time

The steps are those of ``--steps``; the masks those that PSL loss has seen by then; the time what it needed, by the
processor's clock (cpu_clock.py), which two trainings side by side make uncertain by some percent: a run that was given
a time within `NEAR` of what its reference needs stays. Each training has its own schedule, which ends with its budget.
Where two budgets are the same to a method, it is trained once: PSL loss sees all masks of each step, and so do DoDNet
and CoNeMOS here. What is done is left out when started again, other settings are refused; several studies, or seeds,
may run side by side.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fire
from conemos_bundle.training.curve import Epoch, read_curve
from equal_time import conemos, is_evaluated
from pays_studies import STUDIES, write_study

EPOCHS = 6
NEAR = 0.05
CLOCK = [str(Path(__file__).with_name("cpu_clock.py"))]
OTHER = "psl_loss"  # what all are compared with
METHODS: dict[str, dict[str, Any]] = {
    OTHER: {"overlay": OTHER},
    "conemos": {},
    "conemos_paper": {"n_conditioned": None, "regions_per_scan": 1},  # all conditioned, one mask per scan and step
    "dodnet": {"overlay": "dodnet"},
    "psl_loss_relu": {"overlay": OTHER, "network_def::last_relu": True},  # a ReLU before its last layer
}
BUDGETS = {"steps": tuple(METHODS), "time": ("conemos", "conemos_paper", "dodnet"), "masks": ("conemos_paper",)}
COMMON = {
    "channels": [8, 16, 32, 64],  # half of the paper's
    "val_interval": EPOCHS // 2,
    "sampling_rule": "uniform",  # where every mask of a scan is learned, rare regions' scans are drawn often enough
    "num_workers": 0,
    "cache": "memory",
}


def main(
    study: str,
    data: str,
    output: str = "pays",
    steps: int = 1800,
    methods: Sequence[str] = (OTHER, "conemos", "conemos_paper", "dodnet"),
    budgets: Sequence[str] = tuple(BUDGETS),
    seed: int = 0,
    split: str = "test",
    **options: Any,
) -> None:
    """Train and evaluate each method under each budget.

    Args:
        study: of ``STUDIES``.
        data: folder of its data set.
        output: folder of all studies.
        steps: of PSL loss, which is trained first.
        methods: of ``METHODS``.
        budgets: steps, time or masks.
        seed: of weights, draws and augmentation; and of the fold, or the fraction of the scans.
        split: that is looked at.
        options: settings of all trainings.
    """
    methods, budgets = _some(methods, METHODS), _some(budgets, BUDGETS)
    (study,) = _some(study, STUDIES)
    folder = Path(output).absolute() / study
    file = write_study(study, Path(data).absolute(), folder, seed)

    def trained(budget: str, method: str, **length: Any) -> list[Epoch]:
        run = folder / budget / method / f"seed{seed}"
        settings = {**COMMON, **STUDIES[study]["settings"], **METHODS[method], **options, **length, "seed": seed}
        if "minutes" in length:
            settings["minutes"] = _minutes_before(run / "asked.json", length["minutes"])
        _same_as_before(run / "asked.json", settings)
        if not is_evaluated(run / f"evaluation_{split}"):
            conemos("train", file, program=CLOCK, output_dir=run, **settings)
            conemos("evaluate", file, program=CLOCK, run=run, split=split, evaluation_dir=run / f"evaluation_{split}")
        return read_curve(run / "curve.csv")

    def epochs(steps: float) -> dict[str, int]:
        return {"max_epochs": EPOCHS, "steps_per_epoch": round(steps / EPOCHS)}

    reference = trained("steps", OTHER, **epochs(steps))[-1]
    for budget in budgets:
        for method in (method for method in BUDGETS[budget] if method in methods):
            if budget == "time":
                trained(budget, method, steps_per_epoch=round(steps / EPOCHS), minutes=round(reference.seconds / 60, 3))
            else:
                own = trained("steps", method, **epochs(steps))[-1]
                if budget == "masks":
                    trained(budget, method, **epochs(own.step * (reference.masks or 0) / (own.masks or 1)))


def _some(chosen: str | Sequence[str], known: Sequence[str] | dict[str, Any]) -> list[str]:
    names = [chosen] if isinstance(chosen, str) else list(chosen)
    for name in names:
        if name not in known:
            sys.exit(f"error: {name!r}: use one of {', '.join(known)}")
    return names


def _minutes_before(file: Path, minutes: float) -> float:
    """Those that a run was given already, where they are near enough."""
    before = json.loads(file.read_text()).get("minutes", 0.0) if file.exists() else 0.0
    return before if abs(before - minutes) <= NEAR * minutes else minutes


def _same_as_before(file: Path, settings: dict[str, Any]) -> None:
    """Refuse a run of other settings, which would be taken for this one."""
    asked = json.loads(json.dumps(settings))
    if file.exists() and (before := json.loads(file.read_text())) != asked:
        other = sorted(key for key in {*asked, *before} if asked.get(key) != before.get(key))
        sys.exit(f"error: {file.parent}: trained with other {', '.join(other)}; use another --output")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(asked, indent=1) + "\n")


if __name__ == "__main__":
    fire.Fire(main)
