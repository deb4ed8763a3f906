"""All of does_it_pay.py: three data sets under three budgets, and seven where it should pay at equal time.

    python scripts/pays_all.py DATA --output pays --cores 2    # about eight core-hours; goes on where it was cut
    python scripts/pays_tables.py keep pays docs/results/pays
    python scripts/pays_tables.py tables docs/results/pays
    python scripts/pays_figures.py docs/results/pays

DATA holds ``hippocampus``, ``chaos_t2spir`` and ``fetal_brain_atlas``. One study and seed per core at a time.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fire
from pays_studies import STUDIES, folder_of

MAIN = ("hippocampus", "chaos", "many")


def main(data: str, output: str = "pays", cores: int = 2, seeds: Sequence[int] = (0, 1)) -> None:
    """Run what is not done; a study that fails is told, and the others go on.

    Args:
        data: folder of the three data sets.
        output: folder of all studies.
        cores: trainings side by side.
        seeds: of weights, draws and augmentation; studies of folds have their own, one per fold.
    """
    folder = Path(output).absolute()
    folder.mkdir(parents=True, exist_ok=True)

    def run(job: tuple[str, int]) -> str:
        study, seed = job
        source = Path(data).absolute() / folder_of(study)
        words = [study, str(source), "--output", str(folder), "--seed", str(seed)]
        if study not in MAIN:
            words += ["--methods", "[psl_loss, conemos]", "--budgets", "time"]
        script = str(Path(__file__).with_name("does_it_pay.py"))
        with (folder / f"{study}_{seed}.log").open("a") as log:
            code = subprocess.run([sys.executable, script, *words], stdout=log, stderr=log, check=False).returncode
        told = f"{study}, seed {seed}: " + ("done" if code == 0 else f"failed, see {log.name}")
        print(told, flush=True)
        return "" if code == 0 else told

    others = [study for study in STUDIES if study not in MAIN and "folds" not in STUDIES[study]]
    jobs = [(study, seed) for studies in (MAIN, others) for seed in seeds for study in studies]
    jobs += [(study, 1 + fold) for study, one in STUDIES.items() for fold in range(one.get("folds", 0))]
    with ThreadPoolExecutor(cores) as pool:
        failed = [told for told in pool.map(run, jobs) if told]
    sys.exit("\n".join(failed) or 0)


if __name__ == "__main__":
    fire.Fire(main)
