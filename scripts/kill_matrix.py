"""Kill each command at file-system events and at random moments, run it again, and count what did not survive.

    python scripts/kill_matrix.py WORK [--only train,pack] [--kills 40] [--seed 0] [--table kills.csv]

WORK is a folder for the fixtures, which a later call uses again, and for the trials. For each command the table counts

- tried: kills. Half of them are SIGKILL at a file-system event (a file opened to be written, made, renamed, removed),
  in child processes too; the others SIGKILL, SIGTERM and SIGINT (to the whole group, as Ctrl-C) at random moments;
- survived: right after the kill all final files were whole; the same command, run again, ended as if it had never been
  killed, and left what a run that nobody disturbs leaves;
- blocked: the second run failed. Where it said that the result exists, and it did, whole, it is not blocked;
- lost: a final file was cut or differed, then or after the second run, or training began before its last epoch;
- strays: files and folders that the second run left and an undisturbed run does not;
- orphans: processes that still ran ten seconds after the command had ended (workers look for it when they have begun);
- untidy: Ctrl-C that ended in more than our line.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

os.environ.update(OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")  # a fork must not find threads that it has not
ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

import kill_hook  # noqa: E402
import nibabel  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from conemos_bundle import cli  # noqa: E402, F401 (imported once, here: each command is a fork of this process)
from conemos_bundle.__main__ import main as conemos  # noqa: E402
from conemos_bundle.errors import run_command  # noqa: E402
from conemos_bundle.files import one_writer  # noqa: E402
from conemos_bundle.hosts.label.fine_tuning import fine_tune  # noqa: E402
from conemos_bundle.utils.processes import end_with_parent  # noqa: E402
from conemos_bundle.volumes.seg_nrrd import read_seg_nrrd  # noqa: E402

PATIENCE = 300  # seconds for a command
GRACE = 10.0  # seconds for children to end
COLUMNS = ("tried", "survived", "blocked", "lost", "strays", "orphans", "untidy")
NOT_OURS = ("tensorboard", ".snakemake", ".lock", "__pycache__")


class Command(NamedTuple):
    """What is tried, in a folder of its own that is the working directory."""

    words: list[Any]  # of `conemos`
    copies: Mapping[str, Path] = MappingProxyType({})  # what lies in the folder before it starts
    grows: bool = False  # final files are replaced epoch by epoch
    differs: tuple[str, ...] = ()  # names of files whose content is another one each time
    dated: str | None = None  # what is below it has another name each time
    fraction: float = 1.0  # of the kills: fewer of what takes long
    function: Callable[[], Any] | None = None


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    told: str
    seconds: float
    orphans: list[str]


def train_served_model() -> None:
    """What the label server does: train its model further on saved annotations, and put a better one in its place."""
    models, folder = Path("models").absolute(), Path("training", str(time.time_ns())).absolute()
    folder.mkdir()
    for name in ("datalist.json", "holdout.json"):
        shutil.copy(Path("set", name), folder / name)
    with one_writer(models):
        fine_tune(models, folder, [], torch.device("cpu"), max_epochs=1, steps_per_epoch=2, learning_rate=1e-3)


def run(command: Command, folder: Path, after: float | None = None, number: int = signal.SIGKILL, **kill: Any) -> Ended:
    """Run a command in a fork of this process.

    Args:
        command: the command.
        folder: its working directory.
        after: seconds until it gets the signal ``number``.
        number: SIGINT goes to its group.
        kill: ``at``: number of the event at which it is killed; ``main``: it, not the process that the event is in.
    """
    output, temporary = folder.with_suffix(".out"), folder.with_suffix(".tmp")
    temporary.mkdir(exist_ok=True)
    count = folder.with_suffix(".events")
    count.unlink(missing_ok=True)
    output.write_text("")
    ready = os.pipe()
    harness, pid = os.getpid(), os.fork()
    if pid == 0:
        try:
            _in_fork(command, folder, output, temporary, count, ready[1], harness, **kill)
        finally:
            os._exit(99)
    os.close(ready[1])
    os.read(ready[0], 1)
    os.close(ready[0])
    begun, signalled = time.monotonic(), False
    while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
        seconds = time.monotonic() - begun
        if after is not None and seconds >= after and not signalled:
            (os.killpg if number == signal.SIGINT else os.kill)(pid, number)
            signalled = True
        if seconds > PATIENCE:
            os.killpg(pid, signal.SIGKILL)
        time.sleep(0.002)
    seconds, left, until = time.monotonic() - begun, processes_in(folder), time.monotonic() + GRACE
    while left and time.monotonic() < until:
        time.sleep(0.05)
        left = processes_in(folder)
    for orphan in left:
        os.kill(orphan, signal.SIGKILL)
    return Ended(os.waitstatus_to_exitcode(ended[1]), output.read_text(errors="replace"), seconds, list(left.values()))


def _in_fork(
    command: Command,
    folder: Path,
    output: Path,
    temporary: Path,
    count: Path,
    ready: int,
    harness: int,
    at: int = 0,
    main: bool = False,
) -> None:
    os.setsid()
    end_with_parent(harness)
    sys.modules["__main__"] = sys.modules["conemos_bundle.__main__"]  # what new interpreters begin with
    os.dup2(os.open(output, os.O_WRONLY), 1)
    os.dup2(1, 2)
    sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))  # noqa: SIM115
    os.chdir(folder)
    os.environ.update(TMPDIR=str(temporary), KILL_ROOT=str(folder), KILL_AT=str(at), KILL_COUNT=str(count))
    os.environ["KILL_WHOM"] = str(os.getpid()) if main else ""
    tempfile.tempdir = None
    kill_hook.install()
    sys.argv = ["conemos", *map(str, command.words)]
    os.close(ready)
    run_command(command.function) if command.function else conemos()
    sys.stdout.flush()
    os._exit(0)


def processes_in(folder: Path) -> dict[int, str]:
    """The processes whose working directory is the folder, or in it, by number."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if Path(os.readlink(process / "cwd")).is_relative_to(folder):
                found[int(process.name)] = (process / "cmdline").read_text().replace("\0", " ")[:200]
        except OSError:
            continue
    return {pid: words for pid, words in found.items() if words}  # a zombie has none


def digest(content: bytes, name: str, root: Path) -> str:
    """What a file says, whatever is about time and place in it; raises whatever it likes where it is cut."""
    if name.endswith((".nii.gz", ".nrrd")):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, Path(name).name)
            file.write_bytes(content)
            if name.endswith(".nrrd"):
                content = read_seg_nrrd(file)[0].tobytes()
            else:
                image = nibabel.load(file)
                content = np.asanyarray(image.dataobj).tobytes() + image.affine.round(5).tobytes()
    elif name.endswith(".pt"):
        content = repr(_tensors(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))).encode()
    elif name.endswith((".zip", ".ts", ".pt2", ".npz")):
        archive = zipfile.ZipFile(io.BytesIO(content))
        if archive.testzip() is not None:
            raise ValueError(name)
        content = repr(sorted(archive.namelist())).encode()
    elif name.endswith(".csv"):
        rows = list(csv.DictReader(io.StringIO(content.decode())))
        content = repr([{k: v for k, v in row.items() if k not in ("seconds", "hours")} for row in rows]).encode()
    elif name.endswith(".json"):
        content = json.dumps(json.loads(content), sort_keys=True).replace(str(root), "ROOT").encode()
    elif name.endswith((".png", ".md")):
        content = content[-4:] if name.endswith(".png") else content.replace(bytes(root), b"ROOT")
    return hashlib.sha256(content).hexdigest()[:16]


def _tensors(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return hashlib.sha256(value.contiguous().numpy().tobytes()).hexdigest()
    if isinstance(value, dict):
        return {key: _tensors(inner) for key, inner in value.items()}
    return [_tensors(inner) for inner in value] if isinstance(value, list | tuple) else value


def contents(folder: Path) -> dict[str, str]:
    """All files, by their place in the folder; a file that cannot be read is BROKEN."""
    found = {}
    for path in sorted(folder.rglob("*")):
        place = path.relative_to(folder)
        if set(place.parts) & set(NOT_OURS) or path.suffix == ".log" or place.match("models/backup/*.pt"):
            continue
        if path.is_dir():
            if path.name.startswith("."):
                found[f"{place}/"] = "hidden"
        elif not path.is_symlink():
            try:
                found[str(place)] = digest(path.read_bytes(), path.name, folder)
            except Exception as error:  # whatever a library raises on half a file
                found[str(place)] = f"BROKEN {type(error).__name__}"
    return found


def final(found: dict[str, str]) -> dict[str, str]:
    """What a reader sees: nothing that is hidden or in a hidden folder."""
    return {name: content for name, content in found.items() if not any(p.startswith(".") for p in Path(name).parts)}


def prepared(command: Command, folder: Path) -> Path:
    """The folder as the command finds it."""
    folder.mkdir(parents=True)
    for name, source in command.copies.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    return folder


def epochs(folder: Path) -> int:
    """How many epochs the checkpoint of a training holds."""
    file = folder / "run" / "checkpoint.pt"
    return torch.load(file, map_location="cpu", weights_only=True)["epoch"] if file.is_file() else 0


def trial(command: Command, folder: Path, before: dict, wanted: dict, counts: Counter, **kill: Any) -> list[str]:
    """Kill, run again, compare, count; what was wrong."""
    wrong: list[tuple[str, str]] = []
    prepared(command, folder)
    killed = run(command, folder, **kill)
    wrong += [("orphans", words) for words in killed.orphans]
    if kill.get("number") == signal.SIGINT and killed.code:
        lines = [line for line in killed.told.splitlines() if line.strip()]
        if "Traceback" in killed.told or not lines or not lines[-1].startswith("error: interrupted"):
            wrong.append(("untidy", f"{killed.code}: {lines[-1:]}"))
    for name, content in final(contents(folder)).items():
        same = content in (wanted.get(name), before.get(name)) or command.grows or Path(name).name in command.differs
        if content.startswith("BROKEN") or not same:
            wrong.append(("lost", f"{name} after the kill: {content}"))
    done = epochs(folder)
    again = run(command, folder)
    wrong += [("orphans", words) for words in again.orphans]
    found = contents(folder)

    def as_wanted(name: str) -> bool:
        if command.dated and name.startswith(command.dated):
            return not found.get(name, "").startswith("BROKEN")
        return found.get(name) == wanted.get(name) or (name in found and Path(name).name in command.differs)

    differing = [name for name in wanted if not as_wanted(name)]
    finished = again.code == 1 and "exists" in again.told and not differing
    if again.code and not finished:
        wrong.append(("blocked", f"{again.code}: {again.told.strip().splitlines()[-1:]}"))
    else:
        wrong += [("lost", f"{name} after the second run") for name in differing]
        wrong += [("strays", name) for name in found if name not in wanted and not as_wanted(name)]
        if command.grows and done > 0 and f"resumed after epoch {done} " not in again.told:
            wrong.append(("lost", f"did not go on after epoch {done}"))
    counts.update({"tried": 1, "survived": not wrong, **dict.fromkeys({kind for kind, _ in wrong}, 1)})
    shutil.rmtree(folder)
    for suffix in (".tmp", ".out", ".events"):
        place = folder.with_suffix(suffix)
        shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
    how = " ".join(f"{key} {value:.3g}" for key, value in kill.items())
    return [f"{kind} ({how}): {what}" for kind, what in wrong]


def try_command(name: str, command: Command, work: Path, kills: int, chance: random.Random) -> Counter:
    """All trials of a command."""
    shutil.rmtree(work / name, ignore_errors=True)
    before = contents(prepared(command, work / name / "undisturbed"))
    whole = run(command, work / name / "undisturbed")
    if whole.code:
        raise SystemExit(f"{name} fails without any kill:\n{whole.told}")
    wanted, events = contents(work / name / "undisturbed"), (work / name / "undisturbed.events").stat().st_size
    plans: list[dict[str, Any]] = []
    for index, at in enumerate(sorted(chance.sample(range(1, events + 1), min(events, kills // 2)))):
        plans.append({"at": at, "main": bool(index % 2)})
    while len(plans) < kills:
        number = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)[len(plans) % 3]
        plans.append({"after": chance.uniform(0, 1.02 * whole.seconds), "number": number})
    counts: Counter = Counter(dict.fromkeys(COLUMNS, 0))
    notes = []
    for index, plan in enumerate(plans):
        notes += trial(command, work / name / f"trial{index}", before, wanted, counts, **plan)
    print(f"{name}: {whole.seconds:.1f} s, {events} events; {dict(counts)}", flush=True)
    for note in sorted(notes):
        print(f"    {note}", flush=True)
    return counts


def hook_into_children(work: Path) -> None:
    """Have every Python process below a command count its events too."""
    hook = work / "hook"
    hook.mkdir(parents=True, exist_ok=True)
    (hook / "sitecustomize.py").write_text(
        f"import sys\nsys.path.append({str(ROOT / 'scripts')!r})\nimport kill_hook\nkill_hook.install()\n"
    )
    os.environ["PYTHONPATH"] = os.pathsep.join([str(hook), str(ROOT)])


def fixtures(work: Path) -> Path:
    """A data set, two finished and evaluated runs and a bundle, all tiny; made once."""
    place = work / "fixtures"
    if (place / "done").exists():
        return place
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    data, tiny = place / "data", training(place)
    steps = [
        ["phantom", data, "--training", 4, "--validation", 2, "--test", 4, "--size", 24],
        ["train", data / "datalist.json", "--output_dir", place / "runs" / "conemos", *tiny],
        ["train", data / "datalist.json", "--output_dir", place / "runs" / "psl", "--overlay", "psl_loss", *tiny],
        *(["evaluate", data / "datalist.json", "--dataset_dir", data, "--run", place / "runs" / run] for run in RUNS),
        ["pack", place / "runs" / "conemos", "--output", place / "bundle"],
    ]
    for words in steps:
        ended = run(Command(words), place)
        if ended.code:
            raise SystemExit(f"{words}:\n{ended.told}")
    content = json.loads((data / "datalist.json").read_text())
    (place / "set").mkdir()
    for name in ("datalist.json", "holdout.json"):
        for scan in content["training"] + content["validation"]:
            scan["image"] = str(data / scan["image"])
            scan["masks"] = {region: str(data / file) for region, file in scan["masks"].items()}
        (place / "set" / name).write_text(json.dumps({**content, "test": []}))
    (place / "training").mkdir()
    (place / "done").touch()
    return place


RUNS = ("conemos", "psl")


def training(place: Path) -> list[Any]:
    """Options of a tiny training."""
    options = {"dataset_dir": place / "data", "max_epochs": 4, "steps_per_epoch": 2, "batch_size": 1}
    options |= {"channels": "[4,8]", "num_workers": 0}
    return [word for name, value in options.items() for word in (f"--{name}", value)]


def all_commands(place: Path) -> dict[str, Command]:
    """Every command, by name."""
    data, run, tiny = place / "data", place / "runs" / "conemos", training(place)
    scans = sorted((data / "images").iterdir())
    predict = ["predict", *scans[:2], "--model", run, "--output", "out", "--output_format"]
    train = ["train", data / "datalist.json", "--output_dir", "run", *tiny]
    phantom = ["phantom", "phantom", "--training", 3, "--validation", 0, "--test", 1, "--size", 24, "--workers"]
    weights = {f"run/{name}": run / name for name in ("model.pt", "run.json")}
    tuning = [*train, "--overlay", "fine_tune", "--pretrained_path", run / "model.pt"]
    of_training: dict[str, Any] = {"grows": True, "differs": ("config.json", "run.json")}
    served = {f"models/{name}": run / name for name in ("model.pt", "run.json")}
    served |= {"training": place / "training", "set": place / "set"}
    return {
        "predict files": Command([*predict, "files"]),
        "predict multichannel": Command([*predict, "multichannel"]),
        "predict labelmap": Command([*predict, "labelmap"]),
        "predict seg.nrrd": Command([*predict, "seg.nrrd"]),
        "predict folder": Command(["predict", data / "images", "--model", run, "--output", "out"], fraction=0.4),
        "evaluate": Command(
            ["evaluate", data / "datalist.json", "--dataset_dir", data, "--run", "run"], weights, fraction=0.4
        ),
        "pack": Command(["pack", run, "--output", "bundle", "--archive"], differs=("bundle.zip.sha256",)),
        "phantom": Command([*phantom, 0]),
        "phantom workers": Command([*phantom, 2], fraction=0.2),
        "datalist": Command(["datalist", data, "--output", "datalist.json"]),
        "train": Command(train, **of_training),
        "train workers": Command([*train, "--num_workers", 2], fraction=0.2, **of_training),
        "fine-tune": Command(tuning, fraction=0.4, **of_training),
        "experiments": Command(
            ["experiments", data / "datalist.json", "--output", "out", "--methods", "conemos", *tiny],
            grows=True,
            differs=("config.json", "run.json", "report.md", "report.html", "cost.csv", "runs.csv"),
            fraction=0.125,
        ),
        "export": Command(["export", "bundle", "--formats", "ts,pt2"], {"bundle": place / "bundle"}, fraction=0.2),
        "report": Command(["report", place / "runs", "--output", "report"], fraction=0.4),
        "label-app": Command(["label-app", "app", "--bundle", place / "bundle"]),
        "label server training": Command(
            [], served, True, ("model.pt", "history.json"), "training", 0.15, train_served_model
        ),
    }


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--only", default="", help="commands, separated by commas")
    parser.add_argument("--kills", type=int, default=40, help="of each command; fewer of slow ones")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", type=Path, help="CSV to write")
    options = parser.parse_args()
    torch.set_num_threads(1)
    work = options.work.absolute()
    hook_into_children(work)
    every = all_commands(fixtures(work))
    rows = []
    for name in options.only.split(",") if options.only else every:
        kills = max(1, round(options.kills * every[name].fraction))
        counts = try_command(name, every[name], work, kills, random.Random(f"{options.seed} {name}"))
        rows.append({"command": name, **{column: counts[column] for column in COLUMNS}})
    total = {"command": "all", **{column: sum(row[column] for row in rows) for column in COLUMNS}}
    print(total)
    if options.table:
        with options.table.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(total), lineterminator="\n")
            writer.writeheader()
            writer.writerows([*rows, total])
    sys.exit(total["tried"] != total["survived"])


if __name__ == "__main__":
    main()
