"""Three sites of hippocampus crops, each with one region annotated, in FLARE's simulator: log, two kills, resume, Dice.

python tests/integration/verify_federated.py SCANS     # the environment has the extra federated; some minutes
"""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import fire
import torch
from conemos_bundle.cli import evaluate, predict

STATES = "model.pt", "federated.pt"
REGIONS = {"hippocampus": [1, 2], "anterior": [1], "posterior": [2]}


def write_sites(scans: Path, folder: Path, training: int) -> list[Path]:
    """A datalist of each site, which annotates one region, and one of all regions to test on."""
    names = sorted(file.name for file in (scans / "images").glob("*.nii.gz"))
    waiting = iter(names)

    def take(number: int, regions: list[str]) -> list[dict[str, object]]:
        return [
            {
                "image": f"images/{name}",
                "subject": name.split(".")[0],
                "masks": {region: {"file": f"labels/{name}", "values": REGIONS[region]} for region in regions},
            }
            for name, _ in zip(waiting, range(number), strict=False)
        ]

    files = []
    for region in REGIONS:
        content = {"training": take(training, [region]), "validation": take(1, [region])}
        files.append(folder / f"{region}.json")
        files[-1].write_text(json.dumps({"regions": list(REGIONS), "dataset_dir": str(scans.absolute()), **content}))
    test = {"regions": list(REGIONS), "dataset_dir": str(scans.absolute()), "test": take(4, list(REGIONS))}
    (folder / "test.json").write_text(json.dumps(test))
    return files


def command(files: list[Path], output: Path, rounds: int, steps: int) -> list[str]:
    """`conemos federate` with a tiny network."""
    words = [sys.executable, "-m", "conemos_bundle", "federate", *map(str, files), "--output", str(output)]
    words += ["--rounds", str(rounds), "--local_steps", str(steps), "--channels", "[4,8,16]", "--spacing", "[2,2,2]"]
    return words


def main(scans: str, training: int = 5, rounds: int = 3, steps: int = 20) -> None:
    """Verify it.

    Args:
        scans: folder of the crops: images/, labels/.
        training: scans of a site; it validates on one more.
        rounds: of the federation.
        steps: of a site in a round.
    """
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        files = write_sites(Path(scans), root, training)
        began = time.monotonic()
        subprocess.run(command(files, root / "run", rounds, steps), check=True)
        print(f"three sites, {rounds} rounds of {steps} steps: {time.monotonic() - began:.0f} s")
        weights = torch.load(root / "run" / "model.pt", weights_only=True)
        check_logs(root / "run", weights, rounds)
        check_folder(root / "run", root)
        kill_and_resume(files, root / "killed", rounds, steps)
        check_same(root / "run", root / "killed")
        print("killed and resumed twice: the same weights, bit for bit")
        evaluate(str(root / "test.json"), run=str(root / "run"), evaluation_dir=str(root / "evaluation"))
        image = json.loads((root / "test.json").read_text())["test"][0]["image"]
        predict(str(Path(scans) / image), model=str(root / "run"), output=str(root / "masks"))
        print((root / "run" / "rounds.csv").read_text())
        fails_loudly(files, root)


def check_logs(run: Path, weights: dict[str, torch.Tensor], rounds: int) -> None:
    """What each site has sent is the weights, the counts, and nothing else."""
    for log in sorted((run / "sites").glob("*/sent.csv")):
        rows = list(csv.DictReader(log.open()))
        numbers = {"channels", "spacing", "extent", "scans", "annotated", "steps", "masks", "dice"}
        assert {row["key"] for row in rows} == numbers | set(weights), log
        sent = [row for row in rows if row["key"] in weights]
        assert all(int(row["bytes"]) == weights[row["key"]].nbytes for row in sent) and len(sent) == rounds * len(
            weights
        )
        print(f"{log.parent.name}: {len(rows)} keys, {sum(int(row['bytes']) for row in rows) / 1e6:.2f} MB sent")


def check_folder(run: Path, root: Path) -> None:
    """The run folder names no path of this machine."""
    left = {file.relative_to(run).parts[0] for file in run.rglob("*") if file.is_file()}
    assert left <= {".lock", "federated.pt", "model.pt", "rounds.csv", "run.json", "sites"}, left
    for file in (file for file in run.rglob("*") if file.is_file()):
        assert str(root).encode() not in file.read_bytes(), file


def kill_and_resume(files: list[Path], output: Path, rounds: int, steps: int) -> None:
    """SIGKILL after the first round, and again within the last; the same command goes on each time."""

    def last_round_began() -> bool:  # a site has sent its part of it
        rows = [row for log in output.glob("sites/*/sent.csv") for row in csv.DictReader(log.open())]
        return any(row["task"] == "train" and int(row["round"]) == rounds - 1 for row in rows)

    kill_when((output / "federated.pt").exists, files, output, rounds, steps, group=False)
    assert rounds_done(output) < rounds - 1, "killed too late: more rounds are needed"
    kill_when(last_round_began, files, output, rounds, steps, group=True)
    assert rounds_done(output) == rounds - 1, "killed too late: the last round was over"
    subprocess.run(command(files, output, rounds, steps), check=True)


def check_same(run: Path, killed: Path) -> None:
    """The best round's weights, the last round's, and all rounds' numbers are those of the run that went through."""
    best, last = ([torch.load(each / name, weights_only=True) for each in (run, killed)] for name in STATES)
    for ours, theirs in (best, [each["weights"] for each in last]):
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[name], theirs[name]) for name in ours), "other weights after the kills"
    assert (run / "rounds.csv").read_text() == (killed / "rounds.csv").read_text()


def rounds_done(output: Path) -> int:
    """Rounds whose average is saved."""
    return int(torch.load(output / "federated.pt", weights_only=True)["round"])


def kill_when(
    reached: Callable[[], bool], files: list[Path], output: Path, rounds: int, steps: int, group: bool
) -> None:
    """SIGKILL to the command alone, or to its process group; all of FLARE's processes end either way."""
    process = subprocess.Popen(command(files, output, rounds, steps), start_new_session=True)
    while not reached():
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.02)
    (os.killpg if group else os.kill)(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(5)
    assert str(output) not in subprocess.run(["ps", "axww"], capture_output=True, text=True, check=True).stdout
    print(f"killed {'with its group' if group else 'alone'} when {rounds_done(output)} of {rounds} rounds were saved")


def fails_loudly(files: list[Path], root: Path) -> None:
    """A mask that turns out to be empty at one site: one line, exit code 1, no model."""
    content = json.loads(files[1].read_text())
    for scan in content["training"]:
        scan["masks"]["anterior"]["values"] = [77]
    files[1].write_text(json.dumps(content))
    done = subprocess.run(command(files, root / "fails", 1, 1), capture_output=True, text=True, check=False)
    assert done.returncode == 1 and not (root / "fails" / "model.pt").exists(), done
    assert done.stderr.count("\n") == 1 and "site-2" in done.stderr and "is empty" in done.stderr, done.stderr
    print(done.stderr.strip())


if __name__ == "__main__":
    fire.Fire(main)
